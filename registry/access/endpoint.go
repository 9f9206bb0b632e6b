package access

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxForm bounds the body of a POST to the token endpoint.
const maxForm = 64 << 10

// The token endpoint is asked in these ways:
//
//	docker            GET, Basic; account, service, scope and, at login,
//	                  offline_token=true. It is happy without a refresh token,
//	                  and asks by POST only if it has been given one. It wants
//	                  expires_in and issued_at to know when to ask again.
//	containerd,       with credentials POST, grant_type=password; on 400, 401,
//	buildkit, nerdctl 404 and 405 again by GET with Basic; without any, GET.
//	skopeo, podman    GET, Basic; POST only with an identity token.
//	oras-go           GET, Basic; POST, grant_type=password, where it is forced
//	                  to OAuth2.
//	go-containerreg., GET, Basic; POST, grant_type=refresh_token, only with an
//	kraft, crane      identity token, and GET if that is answered by 404.
//	regclient         GET, Basic; POST, grant_type=refresh_token, only with an
//	                  identity token, and GET if that is answered by 401. It
//	                  gives up if realm or service differ between challenges.
//
// All take token or access_token. None is given a refresh token: what they keep
// is the account's own. A scope is not looked at, and no token is limited to
// one: each request is judged by what its account may do at that moment.

// tokenAnswer is what the endpoint answers, in the form of both of Docker's
// specifications.
type tokenAnswer struct {
	Token       string `json:"token"`
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int    `json:"expires_in"`
	IssuedAt    string `json:"issued_at"`
}

// TokenHandler is the token endpoint, to be served at [TokenPath]. It gives a
// short-lived signed token for an account and secret, by GET or HEAD with
// Basic, or by POST with Basic or an OAuth2 form. Without credentials the token
// is an anonymous one. Failures are slowed down by [Gate.Slow].
func (g *Gate) TokenHandler() http.Handler { return http.HandlerFunc(g.serveToken) }

func (g *Gate) serveToken(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	values := r.Header["Authorization"]
	if !HasCredentials(r) {
		values = nil
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPost:
		form, status := readForm(w, r)
		if status == http.StatusRequestEntityTooLarge {
			oauthError(w, status, "invalid_request", "the form is larger than 64 KiB")
			return
		} else if status != 0 {
			oauthError(w, status, "invalid_request", "the body is no form (application/x-www-form-urlencoded)")
			return
		}
		switch grant := form.Get("grant_type"); {
		case grant == "password" && values == nil:
			if form.Get("username") == "" || form.Get("password") == "" {
				oauthError(w, http.StatusBadRequest, "invalid_request", "username and password are needed")
				return
			}
			values = basic(form.Get("username"), form.Get("password"))
		case grant == "password", grant == "":
			// Basic, or anonymous.
		default:
			oauthError(w, http.StatusBadRequest, "unsupported_grant_type", "only grant_type=password is supported: log in with the account's token as the password")
			return
		}
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		writeErrors(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "the token endpoint takes GET and POST")
		return
	}
	c, err := g.exchange(values)
	if err != nil {
		g.refuse(w, r, err)
		return
	}
	now := g.now()
	token := g.sign(c, now)
	writeJSON(w, http.StatusOK, tokenAnswer{
		Token: token, AccessToken: token, TokenType: "Bearer",
		ExpiresIn: int(lifetime / time.Second), IssuedAt: now.UTC().Format(time.RFC3339),
	})
}

// exchange says whom the token is for. A signed token is no credential here:
// it would never end.
func (g *Gate) exchange(values []string) (Caller, error) {
	accounts := g.accounts.fresh()
	if accounts.open || values == nil {
		return g.anonymous(accounts), nil
	}
	return g.authorize(accounts, values, sent{})
}

func (g *Gate) refuse(w http.ResponseWriter, r *http.Request, why error) {
	err := g.Slow(r.Context(), r)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return // nobody waits for an answer
	}
	if err != nil {
		w.Header().Set("Retry-After", RetryAfter(err))
		writeErrors(w, http.StatusTooManyRequests, "TOOMANYREQUESTS", err.Error())
		return
	}
	w.Header().Set("WWW-Authenticate", basicChallenge)
	writeErrors(w, http.StatusUnauthorized, "UNAUTHORIZED", why.Error())
}

// readForm reads the body of a POST, and never the query: a password does not
// belong in an address. The status is 0 if all is well.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, int) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return nil, http.StatusRequestEntityTooLarge
	} else if err != nil {
		return nil, http.StatusBadRequest
	}
	if len(body) == 0 {
		return nil, 0
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || !strings.EqualFold(media, "application/x-www-form-urlencoded") {
		return nil, http.StatusBadRequest
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, http.StatusBadRequest
	}
	return form, 0
}

// oauthError answers in the form that RFC 6749 wants of a token endpoint.
func oauthError(w http.ResponseWriter, status int, code, description string) {
	writeJSON(w, status, map[string]string{"error": code, "error_description": description})
}

// writeErrors answers in the form of the distribution specification.
func writeErrors(w http.ResponseWriter, status int, code, message string) {
	type entry struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	writeJSON(w, status, map[string][]entry{"errors": {{code, message}}})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client is gone
}
