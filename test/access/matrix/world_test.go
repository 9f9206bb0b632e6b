// Package matrix asks a closed berth everything as everyone, and compares what it
// answers with tables that were written by hand.
package matrix

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

var timeTaken = regexp.MustCompile(`"op_time_us":\d+`)

// accountsFile is the accounts file; each {name} is the hash of a secret of
// that name.
const accountsFile = `accounts:
  - name: alice
    tokens:
      - {label: laptop, sha256: {owner}}
      - {label: viewer, sha256: {readonly}, read_only: true}
      - {label: old, sha256: {expired}, expires: 2020-01-01}
  - name: bob
    tokens: [{label: laptop, sha256: {bob}}]
  - name: carol
    tokens: [{label: laptop, sha256: {reader}}]
    read: [alice, team/tools]
  - name: dave
    tokens: [{label: laptop, sha256: {writer}}]
    write: [alice/app]
  - name: mallory
    tokens: [{label: laptop, sha256: {stranger}}]
  - name: root
    admin: true
    tokens:
      - {label: laptop, sha256: {admin}}
      - {label: viewer, sha256: {admin-readonly}, read_only: true}
`

// accountOf is whose token a caller has; anonymous callers have none, and
// the secret of wrong is nobody's.
var accountOf = map[string]string{
	"owner": "alice", "readonly": "alice", "expired": "alice", "wrong": "alice", "bob": "bob", "reader": "carol",
	"writer": "dave", "stranger": "mallory", "admin": "root", "admin-readonly": "root",
}

// everyCaller are the columns' people of every table.
var everyCaller = []string{"anonymous", "expired", "wrong", "stranger", "owner", "readonly", "reader", "writer", "admin"}

// storedNames are the repositories that exist; each has an image and a blob
// of its own under the tag latest.
var storedNames = []string{"alice/app", "bob/secret", "official/nginx", "official/utils/tunnel"}

// world is a closed berth, with everything that anyone was ever told.
type world struct {
	*harness.Berth
	t       *testing.T
	secrets map[string]string // by caller
	images  map[string]harness.Image
	good    *http.Client
	bad     *http.Client
	audit   string
	serial  atomic.Int64
	logged  string // by processes before this one

	mu     sync.Mutex
	told   bytes.Buffer      // answers, but for those of the token endpoint; guarded by mu
	signed map[string]string // tokens that the endpoint gave, by caller; guarded by mu
}

// newWorld starts a berth with accounts and the stored repositories. When the
// test ends, whatever the process let out is searched for secrets.
func newWorld(t *testing.T, env ...string) *world {
	t.Helper()
	w := &world{t: t, secrets: map[string]string{}, images: map[string]harness.Image{}, signed: map[string]string{}}
	text := accountsFile
	for caller := range accountOf {
		var random [32]byte
		_, _ = rand.Read(random[:])
		w.secrets[caller] = "berth_" + base64.RawURLEncoding.EncodeToString(random[:])
		hash := sha256.Sum256([]byte(w.secrets[caller]))
		text = strings.ReplaceAll(text, "{"+caller+"}", hex.EncodeToString(hash[:]))
	}
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "accounts.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	w.audit = filepath.Join(t.TempDir(), "audit.jsonl")
	redirects := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	w.good = &http.Client{Transport: harness.Looking(&http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 8}), CheckRedirect: redirects}
	// Those who fail to log in are slowed down by address, so each failure here
	// comes from another one.
	w.bad = &http.Client{CheckRedirect: redirects, Transport: harness.Looking(&http.Transport{
		DisableCompression: true, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			n := w.serial.Add(1)
			from := &net.TCPAddr{IP: net.IPv4(127, byte(1+n>>16), byte(n>>8), byte(n))}
			return (&net.Dialer{LocalAddr: from}).DialContext(ctx, network, address)
		},
	})}
	w.Berth = harness.Start(t, harness.WithData(data), harness.WithEnv(append([]string{
		"BERTH_LOG_LEVEL=debug", "BERTH_LOG_ACCESS=true", "BERTH_AUDIT_FILE=" + w.audit,
	}, env...)...))
	t.Cleanup(w.noSecrets)
	for _, repository := range storedNames {
		w.images[repository] = harness.NewImage(repository, repository)
		w.push(repository, "latest", w.images[repository])
	}
	return w
}

// authorization is the header by which a caller is known. The ways to say it
// take turns: Basic, the platform's Bearer, the whole of that as the password of
// an organization or of another account, a signed token.
func (w *world) authorization(caller string, turn int) string {
	if caller == "anonymous" {
		return ""
	}
	if caller == "anonymous-token" {
		return "Bearer " + w.token(caller)
	}
	account := accountOf[caller]
	pair := base64.StdEncoding.EncodeToString([]byte(account + ":" + w.secrets[caller]))
	switch {
	case turn%5 == 0:
		return "Basic " + pair
	case turn%5 == 1:
		return "Basic " + base64.StdEncoding.EncodeToString([]byte("organization:"+pair))
	case turn%5 == 2:
		return "Bearer " + base64.StdEncoding.EncodeToString([]byte("root:"+pair))
	case turn%5 == 3 || caller == "expired" || caller == "wrong":
		return "Bearer " + pair
	default:
		return "Bearer " + w.token(caller)
	}
}

// token is a signed token, from the token endpoint.
func (w *world) token(caller string) string {
	w.t.Helper()
	w.mu.Lock()
	known := w.signed[caller]
	w.mu.Unlock()
	if known != "" {
		return known
	}
	r, err := http.NewRequest(http.MethodGet, w.URL+"/token?service=berth", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if caller != "anonymous-token" {
		r.Header.Set("Authorization", w.authorization(caller, 0))
	}
	response, err := w.good.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct{ Token string }
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.Token == "" {
		w.t.Fatalf("no token for %s: %d %v", caller, response.StatusCode, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.signed[caller] = answer.Token
	return answer.Token
}

// ask sends a request as a caller, and keeps what it is told.
func (w *world) ask(caller, method, target string, body any, header ...string) *harness.Answer {
	w.t.Helper()
	header = slices.Clone(header)
	if value := w.authorization(caller, int(w.serial.Add(1))); value != "" {
		header = append(header, "Authorization", value)
	}
	c := &harness.Client{URL: w.URL, HTTP: w.good}
	if caller == "expired" || caller == "wrong" {
		c.HTTP = w.bad
	}
	a, err := c.Do(method, target, body, header...)
	if err != nil {
		w.t.Fatalf("%s: %s %.200s: %v", caller, method, target, err)
	}
	w.keep(method+" "+target, a)
	return a
}

// keep remembers an answer. What the token endpoint gives is meant to be given.
func (w *world) keep(what string, a *harness.Answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	// The address may hold a secret, the answer may not.
	fmt.Fprintf(&w.told, "\n%d\n", a.Status)
	_ = a.Header.Write(&w.told)
	if !strings.Contains(what, "/token") || a.Status != http.StatusOK {
		w.told.Write(a.Body)
	}
}

// must asks as an administrator for what has to succeed.
func (w *world) must(status int, method, target string, body any, header ...string) *harness.Answer {
	w.t.Helper()
	a := w.ask("admin", method, target, body, header...)
	if a.Status != status {
		w.t.Fatalf("%s %s: %d %s, want %d", method, target, a.Status, a.Body, status)
	}
	return a
}

// push pushes an image as an administrator.
func (w *world) push(repository, tag string, image harness.Image) {
	w.t.Helper()
	for _, blob := range image.Blobs {
		w.blob(repository, blob)
	}
	w.must(201, "PUT", "/v2/"+repository+"/manifests/"+harness.Digest(image.Manifest), image.Manifest, "Content-Type", harness.OCIManifest)
	w.must(201, "PUT", "/v2/"+repository+"/manifests/"+tag, image.Index, "Content-Type", harness.OCIIndex)
}

func (w *world) blob(repository string, content []byte) string {
	w.t.Helper()
	w.must(201, "PUT", harness.WithDigest(w.session(repository), harness.Digest(content)), content, "Content-Type", "application/octet-stream")
	return harness.Digest(content)
}

// again starts the process again after it was ended by end.
func (w *world) again(end func()) {
	w.t.Helper()
	end()
	w.logged += w.Log.String()
	w.Restart()
}

// session opens an upload as an administrator and returns where it continues.
func (w *world) session(repository string) *url.URL {
	w.t.Helper()
	return w.location(w.must(202, "POST", "/v2/"+repository+"/blobs/uploads/", nil))
}

func (w *world) location(a *harness.Answer) *url.URL {
	w.t.Helper()
	u, err := url.Parse(a.Header.Get("Location"))
	if err != nil || u.Path == "" || u.Host != "" {
		w.t.Fatalf("Location %q (%v), want a relative one", a.Header.Get("Location"), err)
	}
	return u
}

// unique is content that nothing else has.
func (w *world) unique() []byte { return fmt.Appendf(nil, "content %d", w.serial.Add(1)) }

// noSecrets searches everything that the process let out for secrets: answers,
// log, audit log and metrics.
func (w *world) noSecrets() {
	w.t.Helper()
	metrics := w.ask("anonymous", "GET", "/metrics", nil)
	if metrics.Status != 200 || !bytes.Contains(metrics.Body, []byte("berth_http_requests_total")) {
		w.t.Errorf("no metrics to search: %d %.200s", metrics.Status, metrics.Body)
	}
	audit, err := os.ReadFile(w.audit)
	if err != nil || len(audit) == 0 {
		w.t.Errorf("no audit log to search: %v", err)
	}
	uploads, err := os.ReadFile(filepath.Join(w.Data, "upload.secret"))
	if err != nil {
		w.t.Error(err)
	}
	forms := map[string]string{"the secret of uploads": string(bytes.TrimSpace(uploads))}
	for caller, secret := range w.secrets {
		hash := sha256.Sum256([]byte(secret))
		forms[caller+"'s secret"] = secret
		forms[caller+"'s hash"] = hex.EncodeToString(hash[:])
		for _, account := range []string{accountOf[caller], "robot$" + accountOf[caller] + ".users.kraftcloud"} {
			pair := account + ":" + secret
			forms[caller+"'s bearer of "+account] = base64.RawStdEncoding.EncodeToString([]byte(pair))
			for _, outside := range []string{"organization", "root"} {
				whole := outside + ":" + base64.StdEncoding.EncodeToString([]byte(pair))
				forms[caller+"'s whole token of "+outside+" "+account] = base64.RawStdEncoding.EncodeToString([]byte(whole))
			}
		}
		for name, encoding := range map[string]*base64.Encoding{"": base64.RawStdEncoding, " (URL)": base64.RawURLEncoding} {
			forms[caller+"'s hash in base64"+name] = encoding.EncodeToString(hash[:])
			forms[caller+"'s secret in base64"+name] = encoding.EncodeToString([]byte(secret))
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for caller, token := range w.signed {
		forms[caller+"'s signed token"] = token
		_, mac, _ := strings.Cut(token, ".")
		forms[caller+"'s signature"] = mac
	}
	for where, text := range map[string]string{"an answer": w.told.String(), "the log": w.logged + w.Log.String(), "the audit log": string(audit)} {
		if !strings.Contains(text, "alice/app") {
			w.t.Errorf("%s says nothing: the search for secrets is void", where)
		}
		lower := strings.ToLower(text)
		for what, form := range forms {
			if i := strings.Index(lower, strings.ToLower(form)); i >= 0 {
				w.t.Errorf("%s is in %s: …%s…", what, where, lower[max(0, i-200):min(len(lower), i+len(form)+50)])
			}
		}
	}
}

// wire sends a request as it is written, for those that no library would send.
func (w *world) wire(caller, method, target string, header ...string) *harness.Answer {
	w.t.Helper()
	if value := w.authorization(caller, int(w.serial.Add(1))); value != "" {
		header = append(slices.Clone(header), "Authorization: "+value)
	}
	return w.wireAs(caller, method, target, header...)
}

// wireAs does the same with the credentials that are in the header; the caller
// only reports whether they are good.
func (w *world) wireAs(caller, method, target string, header ...string) *harness.Answer {
	w.t.Helper()
	dialer := net.Dialer{}
	if caller == "expired" || caller == "wrong" {
		n := w.serial.Add(1)
		dialer.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, byte(1+n>>16), byte(n>>8), byte(n))}
	}
	text := method + " " + target + " HTTP/1.1\r\nConnection: close\r\n"
	if !slices.ContainsFunc(header, func(line string) bool { return strings.HasPrefix(line, "Host:") }) {
		text += "Host: " + w.Host + "\r\n"
	}
	for _, line := range header {
		text += line + "\r\n"
	}
	conn, err := dialer.Dial("tcp", w.Host)
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	return w.converse(conn, method+" "+target, text+"\r\n")
}

func (w *world) converse(conn net.Conn, what, text string) *harness.Answer {
	w.t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		w.t.Fatal(err)
	}
	a := readAnswer(w.t, conn, what)
	w.keep(what, a)
	return a
}
