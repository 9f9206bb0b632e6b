package access

import (
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"time"
)

// ErrUnauthorized is the error for credentials that are wrong, malformed or
// expired. Its message, and that of every error around it, is fit for clients.
var ErrUnauthorized = errors.New("the credentials are not valid")

// GateOptions configure a [Gate].
type GateOptions struct {
	// Secret is what the keys for signed tokens are derived from; others may be
	// derived from it too, by [DeriveKey]. Several gates with the same one accept each other's
	// tokens. None means a random key: tokens end with the process.
	Secret []byte
	// Service is the name of the registry in challenges; "" means berth.
	Service string
	// PublicURL is scheme and host under which clients reach the registry; ""
	// means those of each request.
	PublicURL string
	// AnonymousOfficial lets everyone read the official images.
	AnonymousOfficial bool
	// Log may be nil.
	Log *slog.Logger
	// Now may be nil.
	Now func() time.Time
}

// Gate turns the credentials of requests into callers, and gives out the
// short-lived tokens that OCI clients ask for. It is safe for concurrent use.
type Gate struct {
	accounts *Accounts
	service  string
	public   string
	official bool
	log      *slog.Logger
	now      func() time.Time
	tokens   *hmacs // of the token endpoint
	local    *hmacs // of commands on this machine
	failures failureLimiter
	// dummy is what the tokens of unknown accounts are compared with.
	dummy []Token
}

// NewGate makes a gate for the accounts.
func NewGate(a *Accounts, o GateOptions) *Gate {
	g := &Gate{accounts: a, service: o.Service, public: o.PublicURL, official: o.AnonymousOfficial, log: o.Log, now: o.Now}
	if g.service == "" {
		g.service = "berth"
	}
	if u, err := url.Parse(o.PublicURL); err != nil || u.Host == "" {
		g.public = ""
	}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	if g.now == nil {
		g.now = time.Now
	}
	secret := o.Secret
	if len(secret) == 0 {
		secret = make([]byte, 32)
		_, _ = rand.Read(secret) // never fails
	}
	g.tokens = newHMACs(DeriveKey(secret, "tokens of the token endpoint"))
	g.local = newHMACs(DeriveKey(secret, "tokens of local commands"))
	dummy, _ := NewToken("")
	g.dummy = []Token{dummy}
	return g
}

// HasCredentials reports whether a request brings any, good or not. A client that
// brings none must be challenged at /v2/ even where anonymous callers may read
// something, or it would never send those that it has.
func HasCredentials(r *http.Request) bool {
	return len(r.Header["Authorization"]) > 1 || r.Header.Get("Authorization") != ""
}

// Identify says who a request comes from. In an open registry that is
// [Everyone], whatever is sent; without credentials it is an anonymous caller.
//
// A request brings account and secret, as Basic or, in base64, as a Bearer, or
// a token that was signed by the token endpoint. A secret may itself be such a
// base64: the account in it is the one then. A signed token is good for as long
// as the one that it was got with: whatever is revoked is refused from the next
// request on.
//
// The error is [ErrUnauthorized] for credentials that are wrong, malformed or
// expired; the caller is anonymous then and may do nothing.
func (g *Gate) Identify(r *http.Request) (Caller, error) {
	accounts := g.accounts.fresh()
	if accounts.open {
		return Everyone(), nil
	}
	if !HasCredentials(r) {
		return g.anonymous(accounts), nil
	}
	return g.authorize(accounts, r.Header["Authorization"], sent{signed: true, local: fromHere(r)})
}

func (g *Gate) anonymous(accounts *Snapshot) Caller {
	return Caller{official: g.official, public: accounts.public}
}
