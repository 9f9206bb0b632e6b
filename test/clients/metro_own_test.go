package clients

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
)

// certificate makes one for names, and returns the files of it and of its key.
func certificate(t *testing.T, names ...string) (certificate, key string, roots *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, BasicConstraintsValid: true, IsCA: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	certificate, key = filepath.Join(folder, "tls.crt"), filepath.Join(folder, "tls.key")
	for path, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AddCert(parsed)
	return certificate, key, roots
}

// TestMetroOfOnesOwn sets a metro up as the document says, and asks it what the
// platform's clients ask: the names lead to berth, by https and without a port.
func TestMetroOfOnesOwn(t *testing.T) {
	t.Parallel()
	crt, key, roots := certificate(t, "api.fra.lan", "index.fra.lan", "localhost")
	b := harness.Start(t, harness.WithEnv(
		"BERTH_HTTP_INDEX_HOST=index.fra.lan", "BERTH_HTTP_TLS_CERTIFICATE="+crt, "BERTH_HTTP_TLS_KEY="+key))
	root, carol := harness.AddAccount(t, b, "root", "--admin"), harness.AddAccount(t, b, "carol")
	_, port, err := net.SplitHostPort(b.Host)
	if err != nil {
		t.Fatal(err)
	}
	f := harness.FixtureNamed(t, "unikraft-http-python312")
	for repository, who := range map[string]harness.Account{"official/python:3.12": root, "carol/app:v1": carol} {
		env := []string{"BERTH_HOST=https://localhost:" + port, "BERTH_TOKEN=" + who.Bearer, "SSL_CERT_FILE=" + crt}
		wantImages(t, env, done, f.Digest, "cp", "oci:"+f.Dir()+":"+f.Tag, repository)
	}

	// Every name leads to berth, as DNS would have it.
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, b.Host)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	m := metro{t, &http.Client{Transport: transport}}
	urls := m.lists(carol)
	if want := []string{"index.fra.lan/carol/app@" + f.Digest, "index.fra.lan/official/python@" + f.Digest}; !slices.Equal(urls, want) {
		t.Errorf("the metro's images are %q, want %q", urls, want)
	}
	// What the url says is pulled from the index, with the CLI's own login.
	for _, image := range urls {
		m.pull(carol, image)
	}
}

// metro asks by its names.
type metro struct {
	t    *testing.T
	http *http.Client
}

func (m metro) ask(status int, method, target, body string, header ...string) (http.Header, []byte) {
	m.t.Helper()
	r, err := http.NewRequestWithContext(m.t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	a, err := m.http.Do(r)
	if err != nil {
		m.t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil || a.StatusCode != status {
		m.t.Fatalf("%s %s: %d %s %v, want %d", method, target, a.StatusCode, text, err, status)
	}
	return a.Header, text
}

// lists asks as the commands that list do, and returns the urls of the images.
func (m metro) lists(who harness.Account) (urls []string) {
	m.t.Helper()
	// unikraft images list: the control plane's list, then the metro's.
	platform := []string{"Authorization", "Bearer " + who.Bearer, "Content-Type", "application/json", "Accept", "application/json", "User-Agent", "Go-http-client/1.1"}
	_, text := m.ask(200, "GET", "https://api.fra.lan/v1/images?details=true", "", platform...)
	for _, name := range []string{`"name":"carol/app"`, `"name":"official/python"`} {
		if !bytes.Contains(text, []byte(name)) {
			m.t.Errorf("the control plane's list lacks %s: %s", name, text)
		}
	}
	_, text = m.ask(200, "GET", "https://api.fra.lan/v1/image-store", "", platform...)
	var store struct {
		Data struct{ Images []struct{ URL string } }
	}
	if err := json.Unmarshal(text, &store); err != nil {
		m.t.Fatal(err)
	}
	for _, image := range store.Data.Images {
		urls = append(urls, image.URL)
	}
	slices.Sort(urls)
	// kraft cloud img ls.
	_, text = m.ask(200, "GET", "https://api.fra.lan/v1/images/list?namespace=carol", "[]",
		"Authorization", "Bearer "+base64.StdEncoding.EncodeToString([]byte(harness.RobotName("carol")+":"+who.Secret)), "Content-Type", "application/json")
	if !bytes.Contains(text, []byte(`"tags":["carol/app:v1"]`)) {
		m.t.Errorf("kraft's list is %s", text)
	}

	return urls
}

// pull gets an image as the CLI's registry client does.
func (m metro) pull(who harness.Account, image string) {
	m.t.Helper()
	host, rest, _ := strings.Cut(image, "/")
	name, digest, _ := strings.Cut(rest, "@")
	target := "https://" + host + "/v2/" + name + "/manifests/" + digest
	header, _ := m.ask(401, "HEAD", target, "", "Accept", harness.OCIIndex)
	c := challenge.FindStringSubmatch(header.Get("WWW-Authenticate"))
	if c == nil || c[1] != "https://index.fra.lan/token" || c[3] != "repository:"+name+":pull" {
		m.t.Fatalf("challenged with %q", header.Get("WWW-Authenticate"))
	}
	form := url.Values{"grant_type": {"password"}, "client_id": {"containerd-client"}, "service": {c[2]}, "scope": {c[3]}, "username": {"acme"}, "password": {who.Bearer}}
	_, text := m.ask(200, "POST", c[1], form.Encode(), "Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	var token struct {
		Access string `json:"access_token"`
	}
	if err := json.Unmarshal(text, &token); err != nil {
		m.t.Fatal(err)
	}
	_, body := m.ask(200, "GET", target, "", "Accept", harness.OCIIndex, "Authorization", "Bearer "+token.Access)
	if harness.Digest(body) != digest {
		m.t.Errorf("%s: pulled %s", image, harness.Digest(body))
	}
}
