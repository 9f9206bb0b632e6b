package clients

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

var challenge = regexp.MustCompile(`^Bearer realm="([^"]+)",service="([^"]+)",scope="([^"]+)"`)

// TestMetroLogin pushes and pulls as the unikraft CLI does at a metro's own
// index. Its registry client is containerd's resolver, which gets the profile's
// organization as user, and the whole token as password: challenged, it asks the
// token endpoint by POST with a form, and if that fails by GET.
func TestMetroLogin(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	token := harness.AddAccount(t, b, "alice").Bearer
	harness.AddAccount(t, b, "acme") // of the organization's name, by chance
	const repository = "alice/app"
	image := harness.NewImage("metro", repository)

	for _, action := range []struct {
		method, target, scope string
		status                int
		body                  any
		header                []string
	}{
		{"POST", "/v2/" + repository + "/blobs/uploads/", "repository:alice/app:pull,push", 202, nil, nil},
		{"HEAD", "/v2/" + repository + "/manifests/latest", "repository:alice/app:pull", 404, nil, []string{"Accept", harness.OCIIndex + ", " + harness.OCIManifest + ", */*"}},
		{"HEAD", "/v2/acme/app/manifests/latest", "repository:acme/app:pull", 404, nil, []string{"Accept", harness.OCIIndex + ", */*"}},
	} {
		header := append([]string{"User-Agent", "containerd/2.1.4+unknown"}, action.header...)
		refused := b.Must(t, 401, action.method, action.target, action.body, header...)
		m := challenge.FindStringSubmatch(refused.Header.Get("WWW-Authenticate"))
		if m == nil || m[3] != action.scope {
			t.Fatalf("%s %s: challenged with %q", action.method, action.target, refused.Header.Get("WWW-Authenticate"))
		}
		for how, signed := range map[string]string{
			"POST": metroPost(t, b, http.StatusOK, m, "acme", token),
			"GET":  metroGet(t, b, http.StatusOK, m, "acme", token),
		} {
			a := b.Must(t, action.status, action.method, action.target, action.body, append(header, "Authorization", "Bearer "+signed)...)
			if action.status == 404 && a.Header.Get("WWW-Authenticate") != "" {
				t.Errorf("%s: challenged again", how)
			}
		}
		wrong := harness.Account{Name: "alice"}.Wrong().Bearer
		metroPost(t, b, http.StatusUnauthorized, m, "acme", wrong)
		metroGet(t, b, http.StatusUnauthorized, m, "acme", wrong)
	}

	// The account inside counts: it owns what is pushed, and has no more rights.
	mine := harness.ClientAs(b, "Basic "+base64.StdEncoding.EncodeToString([]byte("acme:"+token)))
	if _, err := mine.Push(repository, "latest", image); err != nil {
		t.Fatal(err)
	}
	if _, err := mine.Push("acme/app", "latest", image); err == nil {
		t.Error("what the user name says gives rights")
	}
	for _, path := range []string{"/v2/", "/v1/images", "/v1/image-store", "/v1/images?tag=" + repository} {
		mine.Must(t, http.StatusOK, http.MethodGet, path, nil)
		b.Must(t, http.StatusOK, http.MethodGet, path, nil, "Authorization", "Bearer "+token)
	}
}

// metroPost asks for a token as containerd does first.
func metroPost(t *testing.T, b *harness.Berth, status int, challenged []string, user, password string) string {
	t.Helper()
	form := url.Values{
		"grant_type": {"password"}, "client_id": {"containerd-client"}, "service": {challenged[2]}, "scope": {challenged[3]},
		"username": {user}, "password": {password},
	}
	a := b.Must(t, status, http.MethodPost, strings.TrimPrefix(challenged[1], b.URL), form.Encode(),
		"Content-Type", "application/x-www-form-urlencoded; charset=utf-8", "User-Agent", "containerd/2.1.4+unknown")
	return tokenOf(t, a)
}

// metroGet asks for a token as containerd does if that fails.
func metroGet(t *testing.T, b *harness.Berth, status int, challenged []string, user, password string) string {
	t.Helper()
	query := url.Values{"service": {challenged[2]}, "scope": {challenged[3]}}
	a := b.Must(t, status, http.MethodGet, strings.TrimPrefix(challenged[1], b.URL)+"?"+query.Encode(), nil,
		"Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":"+password)), "User-Agent", "containerd/2.1.4+unknown")
	return tokenOf(t, a)
}

func tokenOf(t *testing.T, a *harness.Answer) string {
	t.Helper()
	var answer struct {
		Token  string `json:"token"`
		Access string `json:"access_token"`
	}
	if err := json.Unmarshal(a.Body, &answer); err != nil || a.Status == http.StatusOK && (answer.Token == "" || answer.Token != answer.Access) {
		t.Fatalf("%v: %s", err, a.Body)
	}
	return answer.Token
}
