package matrix

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// spellings are ways to write addresses of what bob has. What is no
// plain name is refused whoever asks; all that is one is answered for as if it
// were not there, but to who may see it.
var spellings = []struct {
	path string
	all  string // to everyone who logs in, if it is the same
}{
	{"/v2/bob/secret/manifests/latest", ""},
	{"/v2/bob/secret/manifests/DIGEST", ""},
	{"/v2/bob/secret/manifests/sha256%3AHEX", ""},
	{"/v2/bob/secret/manifests/sha256%3aHEX", ""},
	{"/v2/bob/secret/manifests/latest?name=alice/app&x=../../", ""},
	{"/v2/bob/secret/manifests/latest?%zz", ""},
	{"http://HOST/v2/bob/secret/manifests/latest", ""},
	{"/v2/bob%2Fsecret/manifests/latest", "400Z"},
	{"/v2/bob%2fsecret/manifests/latest", "400Z"},
	{"/v2%2Fbob/secret/manifests/latest", "400Z"},
	{"/v2/bob/secret%2Fmanifests/latest", "400Z"},
	{"/v2/bob/%73ecret/manifests/latest", "400Z"},
	{"/%76%32/bob/secret/manifests/latest", "400Z"},
	{"/v2/bob/secret/%6danifests/latest", "400Z"},
	{"/v2/bob/secret/manifests/%6catest", "400Z"},
	{"/v2/bob%252Fsecret/manifests/latest", "400Z"},
	{"/v2/bob/secret%00/manifests/latest", "400Z"},
	{"/v2/bob/secret%20/manifests/latest", "400Z"},
	{"/v2/bob/secret%EF%BC%8Fx/manifests/latest", "400Z"},
	{"/v2/bob/s%C3%A9cret/manifests/latest", "400Z"},
	{"/v2/bob/s\xc3\xa9cret/manifests/latest", "400Z"},
	{"/v2/bob\\secret/manifests/latest", "400Z"},
	{"/v2/bob/secret#x/manifests/latest", "400Z"},
	{"/v2/./bob/secret/manifests/latest", "400Z"},
	{"/v2/bob/./secret/manifests/latest", "400Z"},
	{"/v2/alice/../bob/secret/manifests/latest", "400Z"},
	{"/v2/official/nginx/../../bob/secret/manifests/latest", "400Z"},
	{"/v2/bob/secret/manifests/../manifests/latest", "400Z"},
	{"/v2/alice/%2e%2e/bob/secret/manifests/latest", "400Z"},
	{"/v2/alice/%2E./bob/secret/manifests/latest", "400Z"},
	{"/v2/alice/..%2Fbob/secret/manifests/latest", "400Z"},
	{"/v2/../v2/bob/secret/manifests/latest", "400Z"},
	{"/v2//bob/secret/manifests/latest", "400Z"},
	{"/v2/bob//secret/manifests/latest", "400Z"},
	{"/v2/bob/secret//manifests/latest", "400Z"},
	{"/v2/bob/secret/manifests//latest", "400Z"},
	{"/v2/Bob/secret/manifests/latest", "400Z"},
	{"/v2/BOB/SECRET/manifests/latest", "400Z"},
	{"/v2/bob/secret/Manifests/latest", "404F"},
	{"/v2/bob/secret/MANIFESTS/latest", "404F"},
	{"/v2/bob/secret./manifests/latest", "400Z"},
	{"/v2/.bob/secret/manifests/latest", "400Z"},
	{"/v2/bob/secret-/manifests/latest", "400Z"},
	{"/v2/bob/sec..ret/manifests/latest", "400Z"},
	{"/v2/bob/_secret/manifests/latest", "400Z"},
	{"/v2/bob:secret/manifests/latest", "400Z"},
	{"/v2/localhost:5000/bob/secret/manifests/latest", "400Z"},
	{"/v2/bob/secret@sha256:x/manifests/latest", "400Z"},
	{"/v2/bob/secret;x/manifests/latest", "400Z"},
	{"/v2/bob/secret,/manifests/latest", "400Z"},
	{"/v2/bob/secret*/manifests/latest", "400Z"},
	{"/v2/bob/secret/manifests/latest/", "404F"},
	{"/v2/bob/secret/manifests/", "404M"},
	{"/v2/bob/secret/manifests", "404F"},
	{"/v2/bob/secret/manifests/-bad", "404M"},
	{"/v2/bob/secret/manifests/sha256:bad", "400T"},
	{"/v2/bob/secret/manifests/sha256:UPPERHEX", "400T"},
	{"/v2/bob/secret/manifests/md5:d41d8cd98f00b204e9800998ecf8427e", "400T"},
	{"/v2/bob/secret/blobs/sha256:bad", "400T"},
	{"/v2/bob/secret/blobs/", "400T"},
	{"/v2/bob/secret/tags/list/", "404F"},
	{"/v2/bob/secret/tags", "404F"},
	{"/v2/bob/secret/referrers/bad", "400T"},
	{"/v2/bob/secret/referrers/uploads", "400T"},
	{"/v2/bob/secret/referrers/", "400T"},
	{"/v2/bob/secret/", "404F"},
	{"/v2/bob/secret", "404F"},
	{"/v2/_catalog/", "404F"},
	{"/v2/bob/_catalog", "404F"},
	{"/v2/LONG255/manifests/latest", ""},
	{"/v2/LONG256/manifests/latest", "400Z"},
	{"/v2/LONG30000/manifests/latest", "400Z"},
	{"/v2/SLASHES/manifests/latest", "400Z"},
	{"//v2/bob/secret/manifests/latest", "404"},
	{"/V2/bob/secret/manifests/latest", "404"},
	{"/./v2/bob/secret/manifests/latest", "404"},
	{"/v1/../v2/bob/secret/manifests/latest", "404"},
	{"/v2bob/secret/manifests/latest", "404"},
	{"/bob/secret/manifests/latest", "404"},
	{"/v1//images", "404"},
	{"/v1/./images", "404"},
	{"/v1/%69mages", "404"},
	{"/v1/images/", "404"},
	{"/V1/images", "404"},
	{"/v1%2Fimages", "404"},
	{"//images", "404"},
	{"/images/", "404"},
	{"/v1/Images", "404"},
	{"/v1/users/quotas/", "404"},
	{"/token/", "404"},
	{"/api/v2.0//projects/bob/summary", "404"},
	{"/api/v2.0/projects/bob/summary/", "404F"},
	{"/api/v2.0/projects/Bob/summary", "404F"},
	{"/api/v2.0/projects//summary", "404F"},
	{"/api/v2.0/projects/alice%2F..%2Fbob/summary", "404F"},
	{"/api/v2.0/projects/bob%2Fsecret/summary", "404F"},
}

func TestSpellings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	digest := harness.Digest(w.images["bob/secret"].Index)
	hex := strings.TrimPrefix(digest, "sha256:")
	fill := strings.NewReplacer("HOST", w.Host, "DIGEST", digest, "UPPERHEX", strings.ToUpper(hex), "HEX", hex,
		"LONG255", strings.Repeat("a", 255), "LONG256", strings.Repeat("a", 256), "LONG30000", strings.Repeat("a", 30000),
		"SLASHES", strings.Repeat("a/", 10000)+"a").Replace
	for _, s := range spellings {
		path := fill(s.path)
		for _, caller := range everyCaller {
			c := cell{method: "GET", caller: caller, status: 404, code: "NAME_UNKNOWN"}
			switch {
			case s.all != "":
				fmt.Sscan(s.all[:3], &c.status)
				c.code = errorCodes[s.all[3:]]
			case caller == "anonymous" || caller == "expired" || caller == "wrong":
				c.status, c.code = 401, "UNAUTHORIZED"
			case strings.Contains(s.path, "LONG"): // as official/aaa…, which is too long to be there
				c.code = "MANIFEST_UNKNOWN"
			case caller == "admin":
				c.status, c.code = 200, ""
			}
			w.check(c, s.path, w.wire(caller, "GET", path))
		}
	}
	// The head of a request is bounded before anyone looks at it.
	if a := w.wire("admin", "GET", "/v2/"+strings.Repeat("a", 200_000)+"/manifests/latest"); a.Status != 431 {
		t.Errorf("a path of 200 kB: %d, want 431", a.Status)
	}
	// An account in the address is none.
	userinfo := "http://root:" + w.secrets["admin"] + "@" + w.Host + "/v2/bob/secret/manifests/latest"
	w.check(cell{method: "GET", caller: "anonymous", status: 401, code: "UNAUTHORIZED"}, "user info", w.wire("anonymous", "GET", userinfo))
}

// TestHosts sends hosts of all kinds: they have no say in who may do
// what, and are repeated only where they are well-formed.
func TestHosts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, host := range []string{
		"evil.example", "evil.example:80", "BOB", "bob", "official", "nginx", "[::1]:5000", "localhost", "a_b.c", "127.0.0.1:1", "xn--bob-.example.", "a;b", "a,b", "a b", `a"b`,
		"a/b", "a@b", "", "%62ob", "host:port", "host:123456", `x",error="y`, "x\\y",
	} {
		lines := []string{"Host: " + host}
		plain := host != "" && !strings.ContainsAny(host, `;, "/@%\`) && !strings.HasSuffix(host, ":port") && !strings.HasSuffix(host, "123456")
		a := w.wire("anonymous", "GET", "/v2/bob/secret/tags/list", lines...)
		challenge := a.Header.Get("WWW-Authenticate")
		want := `Bearer realm="http://` + host + `/token",service="berth",scope="repository:bob/secret:pull"`
		if !plain {
			want = `Basic realm="berth"`
		}
		if a.Status == 400 && !plain && len(a.Header["Www-Authenticate"]) == 0 {
			continue // refused by the protocol
		}
		if a.Status != 401 || challenge != want {
			t.Errorf("Host %q: %d and %s, want %s", host, a.Status, challenge, want)
		}
		for caller, status := range map[string]int{"stranger": 404, "admin": 200} {
			if a := w.wire(caller, "GET", "/v2/bob/secret/tags/list", lines...); a.Status != status {
				t.Errorf("Host %q: %s gets %d, want %d", host, caller, a.Status, status)
			}
			lookup := w.wire(caller, "GET", "/v1/images?tag=bob/secret", lines...)
			if lookup.Status != status {
				t.Errorf("Host %q: %s looks up with %d, want %d", host, caller, lookup.Status, status)
			}
			// With the host that it is asked by in front.
			if lookup = w.wire(caller, "GET", "/v1/images?tag="+w.Host+"/bob/secret", "Host: "+w.Host); lookup.Status != status {
				t.Errorf("%s looks up with a host in front with %d, want %d", caller, lookup.Status, status)
			}
		}
		a = w.wire("owner", "POST", "/v2/alice/app/blobs/uploads/", lines...)
		if location := a.Header.Get("Location"); a.Status != 202 || !strings.HasPrefix(location, "/v2/alice/app/blobs/uploads/") {
			t.Errorf("Host %q: an upload begins with %d at %q", host, a.Status, location)
		}
	}
	for _, lines := range [][]string{{"Host: a", "Host: b"}, {"Host: a", "Host: a"}} {
		if a := w.wire("admin", "GET", "/v2/", lines...); a.Status != 400 {
			t.Errorf("%v: %d, want 400", lines, a.Status)
		}
	}
	// What a proxy claims that is not trusted is believed for nothing.
	forwarded := []string{"X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https", "Forwarded: host=evil.example;proto=https", "X-Forwarded-For: 127.0.0.1"}
	a := w.wire("anonymous", "GET", "/v2/", forwarded...)
	if got := a.Header.Get("WWW-Authenticate"); got != `Bearer realm="http://`+w.Host+`/token",service="berth"` {
		t.Errorf("forwarded: challenged by %s", got)
	}
	for _, line := range append(forwarded, "X-Original-URL: /v2/bob/secret/tags/list", "X-Rewrite-URL: /v2/bob/secret/tags/list", "X-HTTP-Method-Override: DELETE") {
		if a := w.wire("stranger", "GET", "/v2/bob/secret/tags/list", line); a.Status != 404 || errorCode(a.Body) != "NAME_UNKNOWN" {
			t.Errorf("%s: %d", line, a.Status)
		}
		if a := w.wire("owner", "GET", "/v2/alice/app/manifests/latest", line); a.Status != 200 {
			t.Errorf("%s: the owner gets %d", line, a.Status)
		}
	}
}

// TestCredentials sends credentials that are none.
func TestCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := w.authorization("admin", 0)
	pair := strings.TrimPrefix(good, "Basic ")
	secret := w.secrets["admin"]
	for _, lines := range [][]string{
		{"Authorization: " + good, "Authorization: " + good},
		{"Authorization: " + good, "Authorization: " + w.authorization("stranger", 0)},
		{"Authorization: Token " + pair}, {"Authorization: Digest " + pair}, {"Authorization: " + pair}, {"Authorization: Basic"},
		{"Authorization: Bearer " + secret}, {"Authorization: Bearer root:" + secret}, {"Authorization: Basic root:" + secret},
		{"Authorization: Bearer " + w.token("admin") + "x"}, {"Authorization: Bearer x" + w.token("admin")}, {"Authorization: Basic " + w.token("admin")},
		{"Authorization: Bearer " + strings.Repeat("A", 20_000)}, {"Authorization: Basic " + pair + "," + pair},
	} {
		for _, path := range []string{"/v2/", "/v2/bob/secret/tags/list", "/v2/_catalog", "/v1/images", "/api/v2.0/projects/bob/summary"} {
			a := w.wireAs("wrong", "GET", path, lines...)
			if a.Status != 401 || a.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s with %.30q…: %d, want 401", path, lines, a.Status)
			}
		}
	}
	for _, lines := range [][]string{{"Cookie: Authorization=" + pair}, {"X-Authorization: " + good}, {"Proxy-Authorization: " + good}, {"X-Registry-Auth: " + pair}, {"Authorization: "}} {
		if a := w.wireAs("anonymous", "GET", "/v2/bob/secret/tags/list", lines...); a.Status != 401 || errorCode(a.Body) != "UNAUTHORIZED" {
			t.Errorf("%.20q…: %d, want 401", lines, a.Status)
		}
	}
	for _, path := range []string{"/v2/bob/secret/tags/list?access_token=" + pair, "/v2/bob/secret/tags/list?token=" + secret, "/v1/images?access_token=" + pair} {
		if a := w.wireAs("anonymous", "GET", path); a.Status != 401 {
			t.Errorf("a token in the address: %d, want 401", a.Status)
		}
	}
	// A connection that has shown its credentials once shows them each time.
	conn, err := net.Dial("tcp", w.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	head := "GET /v2/bob/secret/tags/list HTTP/1.1\r\nHost: " + w.Host + "\r\n"
	if _, err := conn.Write([]byte(head + "Authorization: " + good + "\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if a := readAnswer(t, conn, "GET /"); a.Status != 200 {
		t.Errorf("first on a connection: %d", a.Status)
	}
	if a := w.converse(conn, "GET /", head+"\r\n"); a.Status != 401 {
		t.Errorf("second on a connection, without credentials: %d", a.Status)
	}
}
