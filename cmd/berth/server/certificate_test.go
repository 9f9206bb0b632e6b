package server

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// writePair writes a new certificate for a name.
func writePair(t *testing.T, dir, name string) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for path, block := range map[string]*pem.Block{
		certificate: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}

func TestCertificateReload(t *testing.T) {
	dir := t.TempDir()
	certificate, key := writePair(t, dir, "first.test")
	var logged bytes.Buffer
	c, err := LoadCertificate(certificate, key, slog.New(slog.NewTextHandler(&logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.TLS, s.EnableHTTP2 = c.Config(), true
	s.StartTLS()
	defer s.Close()
	served := func(version uint16) (string, error) {
		conn, err := tls.Dial("tcp", s.Listener.Addr().String(), &tls.Config{
			InsecureSkipVerify: true, MinVersion: version, MaxVersion: version, NextProtos: []string{"h2"}, ServerName: "any.test",
		})
		if err != nil {
			return "", err
		}
		defer conn.Close()
		if got := conn.ConnectionState().NegotiatedProtocol; got != "h2" {
			t.Errorf("negotiated %q", got)
		}
		return conn.ConnectionState().PeerCertificates[0].Subject.CommonName, nil
	}
	if _, err := served(tls.VersionTLS11); err == nil {
		t.Error("TLS 1.1 is accepted")
	}
	want := func(name string) {
		t.Helper()
		c.mu.Lock()
		c.checked = time.Time{} // as if a second had passed
		c.mu.Unlock()
		if got, err := served(tls.VersionTLS12); err != nil || got != name {
			t.Errorf("served is %q, %v; want %q", got, err, name)
		}
	}
	want("first.test")
	if err := os.WriteFile(key, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	want("first.test")
	want("first.test")
	if n := bytes.Count(logged.Bytes(), []byte("last good one")); n != 1 {
		t.Errorf("a broken key is reported %d times:\n%s", n, &logged)
	}
	writePair(t, dir, "second.test")
	want("second.test")
	if _, err := LoadCertificate(certificate, filepath.Join(dir, "absent"), slog.Default()); err == nil {
		t.Error("a missing key is accepted")
	}
}
