package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestValidateRefused(t *testing.T) {
	const address = ` is not a host and a port, like 127.0.0.1:5000 or [::1]:5000`
	const allow = `allow it: http.open, in the file as "http: {open: true}", in the environment as BERTH_HTTP_OPEN=true`
	const exposed = ` can be reached from other machines, and without accounts everyone who reaches it may read and write; add an account: berth account add NAME --admin, or listen on 127.0.0.1, or ` + allow
	const public = ` is how other machines reach berth, and without accounts everyone who does may read and write; add an account: berth account add NAME --admin, or ` + allow
	const wantURL = `; it is scheme and host, like https://registry.example.com`
	const noLimit = ` is no time; without a limit a silent client would hold its connection for ever`
	const seen = ` can be reached from other machines, and profiles show what berth does and holds; listen on 127.0.0.1, and reach it from elsewhere through a tunnel, as ssh -L makes one`
	const noTarget = `; it has no address to send clients to`
	for name, test := range map[string]struct{ text, want string }{
		"every interface":     {"http:\n  listen: :5000", `2: http.listen: :5000` + exposed},
		"IPv4 any":            {"http: {listen: '0.0.0.0:5000'}", `1: http.listen: 0.0.0.0:5000` + exposed},
		"IPv6 any":            {"http: {listen: '[::]:5000'}", `1: http.listen: [::]:5000` + exposed},
		"a name":              {"http: {listen: 'localhost.example.com:1'}", `1: http.listen: localhost.example.com:1` + exposed},
		"not quite an IP":     {"http: {listen: '0127.0.0.1:1'}", `1: http.listen: 0127.0.0.1:1` + exposed},
		"no port":             {"http: {listen: localhost}", `1: http.listen: "localhost"` + address},
		"empty":               {"http: {listen: ''}", `1: http.listen: ""` + address},
		"a URL":               {"http: {listen: 'http://127.0.0.1:5000'}", `1: http.listen: "http://127.0.0.1:5000"` + address},
		"odd host":            {"http: {listen: 'a b:1'}", `1: http.listen: "a b:1"` + address},
		"named port":          {"http: {listen: 'localhost:http'}", `1: http.listen: "localhost:http" needs a port from 0 to 65535 after the host`},
		"empty port":          {"http: {listen: 'localhost:'}", `1: http.listen: "localhost:" needs a port from 0 to 65535 after the host`},
		"large port":          {"http: {listen: 'localhost:65536'}", `1: http.listen: "localhost:65536" needs a port from 0 to 65535 after the host`},
		"unix socket":         {"http: {listen: 'unix:/run/berth.sock'}", `1: http.listen: "unix:/run/berth.sock": unix sockets are not supported; give a host and a port, like 127.0.0.1:5000`},
		"metrics address":     {"metrics: {listen: x}", `1: metrics.listen: "x"` + address},
		"same address":        {"metrics: {listen: '127.0.0.1:5000'}", `1: metrics.listen: 127.0.0.1:5000 is already http.listen; leave it empty or choose another port`},
		"debug address":       {"debug: {listen: x}", `1: debug.listen: "x"` + address},
		"debug for others":    {"debug: {listen: '0.0.0.0:6060'}", `1: debug.listen: 0.0.0.0:6060` + seen},
		"debug for all":       {"debug: {listen: ':6060'}", `1: debug.listen: :6060` + seen},
		"debug at a name":     {"debug: {listen: 'berth.example.com:6060'}", `1: debug.listen: berth.example.com:6060` + seen},
		"debug, same address": {"debug: {listen: '127.0.0.1:5000'}", `1: debug.listen: 127.0.0.1:5000 is already http.listen; leave it empty or choose another port`},
		"debug and metrics":   {"debug: {listen: '127.0.0.1:9'}\nmetrics: {listen: '127.0.0.1:9'}", `1: debug.listen: 127.0.0.1:9 is already metrics.listen; leave it empty or choose another port`},
		"URL, no scheme":      {"http: {public_url: registry.example.com}", `1: http.public_url: does not begin with http:// or https://` + wantURL},
		"URL, ftp":            {"http: {public_url: 'ftp://a'}", `1: http.public_url: does not begin with http:// or https://` + wantURL},
		"URL, path":           {"http: {public_url: 'https://a/b/'}", `1: http.public_url: has a path that is not like /registry, without a slash at its end` + wantURL},
		"URL, dots":           {"http: {public_url: 'https://a/b/../c'}", `1: http.public_url: has a path that is not like /registry, without a slash at its end` + wantURL},
		"URL, slash":          {"http: {public_url: 'https://a/'}", `1: http.public_url: has a path that is not like /registry, without a slash at its end` + wantURL},
		"URL, query":          {"http: {public_url: 'https://a?'}", `1: http.public_url: has a query or a fragment` + wantURL},
		"URL, fragment":       {"http: {public_url: 'https://a#'}", `1: http.public_url: has a query or a fragment` + wantURL},
		"URL, password":       {"http: {public_url: 'https://u:hush@a'}", `1: http.public_url: holds a user or password` + wantURL},
		"URL, no host":        {"http: {public_url: 'https://:80'}", `1: http.public_url: has no host, or an empty port` + wantURL},
		"URL, empty port":     {"http: {public_url: 'https://a:'}", `1: http.public_url: has no host, or an empty port` + wantURL},
		"URL, large port":     {"http: {public_url: 'https://a:70000'}", `1: http.public_url: has a port that is not between 1 and 65535` + wantURL},
		"URL, behind a proxy": {"http: {public_url: 'https://registry.example.com'}", `1: http.public_url: https://registry.example.com` + public},
		"URL, in clear":       {"http: {public_url: 'http://registry.lan:80/berth'}", `1: http.public_url: http://registry.lan:80/berth` + public},
		"no accounts file":    {"accounts: {file: /none/such.yaml}", `1: accounts.file: there is no /none/such.yaml, and without accounts everyone who reaches berth may read and write; put it back, or begin with an account: berth account add NAME --admin, or ` + allow},
		"URL, none":           {"http: {public_url: 'https://a b'}", `1: http.public_url: is not a URL` + wantURL},
		"mask as secret":      {"http: {secret: '********'}", `1: http.secret: ` + maskedSecret},
		"mask as S3 secret":   {"storage:\n  s3:\n    secretkey: '********'", `3: storage.s3.secretkey: ` + maskedSecret},
		"no header timeout":   {"http: {timeouts: {read_header: 0s}}", `1: http.timeouts.read_header: 0s` + noLimit},
		"no idle timeout":     {"http: {timeouts: {idle: -1s}}", `1: http.timeouts.idle: -1s` + noLimit},
		"shutdown":            {"http: {timeouts: {shutdown: -1s}}", `1: http.timeouts.shutdown: -1s is negative; 0s stops at once`},
		"small headers":       {"http: {limits: {header_bytes: 10}}", `1: http.limits.header_bytes: 10 is not between 4KiB and 16MiB`},
		"little memory":       {"limits: {memory: 63MiB}", `1: limits.memory: 63MiB is less than 64MiB`},
		"large headers":       {"http: {limits: {header_bytes: 1GiB}}", `1: http.limits.header_bytes: 1GiB is not between 4KiB and 16MiB`},
		"data":                {"data: ''", `1: data: is empty; name a folder`},
		"log level":           {"log: {level: loud}", `1: log.level: "loud" is none of debug, info, warn, error`},
		"log format":          {"log: {format: xml}", `1: log.format: "xml" is none of text, json`},
		"key is missing":      {"http: {tls: {certificate: a}}", `http.tls.key: is missing, while http.tls.certificate is set; give both or neither`},
		"no certificate":      {"http: {tls: {key: a}}", `http.tls.certificate: is missing, while http.tls.key is set; give both or neither`},

		"no deletion":         {"storage:\n  delete:\n    enabled: false", `3: storage.delete.enabled: cannot be false: images are deleted through the API, and the index relies on it; to refuse every change set storage.maintenance.readonly.enabled`},
		"redirect to nowhere": {"storage: {inmemory: , redirect: {disable: false}}", `1: storage.redirect.disable: cannot be false with the driver inmemory` + noTarget},
		"redirect, no driver": {"storage: {redirect: {disable: false}}", `1: storage.redirect.disable: cannot be false with the driver filesystem` + noTarget},
		"cache in memory":     {"storage: {cache: {blobdescriptor: inmemory}}", `1: storage.cache.blobdescriptor: cannot be "inmemory": a cache of descriptors would still know what has been deleted beside it, and a push or delete must show at once; leave it out`},
		"cache in redis":      {"storage: {cache: {blobdescriptor: redis}}", `1: storage.cache.blobdescriptor: cannot be "redis": a cache of descriptors would still know what has been deleted beside it, and a push or delete must show at once; leave it out`},
		"purge age":           {"storage: {maintenance: {uploadpurging: {age: 59m}}}", `1: storage.maintenance.uploadpurging.age: 59m is too short: uploads that are still running would be removed; at least 1h`},
		"purge interval":      {"storage: {maintenance: {uploadpurging: {interval: 0s}}}", `1: storage.maintenance.uploadpurging.interval: 0s is too short: looking through all uploads takes a while; at least 1m`},
		"tag limit":           {"storage: {tag: {concurrencylimit: -1}}", `1: storage.tag.concurrencylimit: cannot be negative; 0 means as many as there are processors`},
		"empty root":          {"storage: {filesystem: {rootdirectory: ''}}", `1: storage.filesystem.rootdirectory: is empty, which would be the root of the file system; name a folder or leave it out`},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, test.text)
			c, err := Load(path, nil)
			if err != nil {
				t.Fatal(err)
			}
			want := test.want
			if want[0] >= '0' && want[0] <= '9' {
				want = "berth.yaml:" + want
			}
			wantError(t, c.Validate(), filepath.Dir(path), want)
		})
	}
}

func TestValidateAccepts(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "127.9.8.7:1", "localhost:5000", "LOCALHOST:1", "[::1]:65535", "[::ffff:127.0.0.1]:1"} {
		if err := load(t, "", "BERTH_HTTP_LISTEN="+listen).Validate(); err != nil {
			t.Errorf("%s: %v", listen, err)
		}
	}
	for _, listen := range []string{":5000", "0.0.0.0:0", "[::]:1", "berth.example.com:80", "[fe80::1%eth0]:1"} {
		if err := load(t, "", "BERTH_HTTP_OPEN=true", "BERTH_HTTP_LISTEN="+listen).Validate(); err != nil {
			t.Errorf("%s: %v", listen, err)
		}
	}
	accounts := write(t, "accounts: []")
	if err := load(t, "", "BERTH_ACCOUNTS_FILE="+accounts, "BERTH_HTTP_LISTEN=:5000").Validate(); err != nil {
		t.Errorf("with accounts: %v", err)
	}
	if err := load(t, "", "BERTH_ACCOUNTS_FILE="+accounts, "BERTH_HTTP_PUBLIC_URL=https://registry.example.com").Validate(); err != nil {
		t.Errorf("behind a proxy, with accounts: %v", err)
	}
	for _, u := range []string{"http://127.0.0.1:8080", "https://localhost/berth", "http://[::1]"} {
		if err := load(t, "", "BERTH_HTTP_PUBLIC_URL="+u).Validate(); err != nil {
			t.Errorf("%s: %v", u, err)
		}
	}
	if err := load(t, "", "BERTH_HTTP_OPEN=true", "BERTH_ACCOUNTS_FILE="+accounts+".none").Validate(); err != nil {
		t.Errorf("without accounts, which is allowed: %v", err)
	}
	for _, u := range []string{"http://a", "https://a.example.com", "https://a:8443", "http://[::1]:80"} {
		if err := load(t, "", "BERTH_HTTP_OPEN=true", "BERTH_HTTP_PUBLIC_URL="+u).Validate(); err != nil {
			t.Errorf("%s: %v", u, err)
		}
	}
	for _, text := range []string{
		"metrics: {listen: '0.0.0.0:9090'}",
		"debug: {listen: 'localhost:6060'}",
		"debug: {listen: '[::1]:0'}",
		"http: {listen: '127.0.0.1:0'}\nmetrics: {listen: '127.0.0.1:0'}",
		"storage: {s3: {bucket: b}, redirect: {disable: false}}",
		"storage: {maintenance: {uploadpurging: {age: 1h, interval: 1m}}}",
	} {
		if err := load(t, text).Validate(); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// The source of a value is named as long as the value is the one from there.
func TestValidateSource(t *testing.T) {
	path := write(t, "log: {level: loud, format: xml}\ndata: x\n")
	c, err := Load(path, []string{"BERTH_LOG_FORMAT=yaml", "BERTH_STORAGE_FILESYSTEM_ROOTDIRECTORY="})
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, c.Validate(), filepath.Dir(path),
		`BERTH_STORAGE_FILESYSTEM_ROOTDIRECTORY: storage.filesystem.rootdirectory: is empty, which would be the root of the file system; name a folder or leave it out`,
		`berth.yaml:1: log.level: "loud" is none of debug, info, warn, error`,
		`BERTH_LOG_FORMAT: log.format: "yaml" is none of text, json`)

	c.Log = Log{Level: "quiet", Format: "text"}
	c.Storage.Parameters = nil
	wantError(t, c.Validate(), "", `log.level: "quiet" is none of debug, info, warn, error`)
}

func TestValidateResolves(t *testing.T) {
	c := load(t, "")
	c.Data = "flag"
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if c.Catalog.Path != filepath.Join("flag", "catalog.db") || c.Storage.Parameters["rootdirectory"] != filepath.Join("flag", "storage") {
		t.Errorf("got %+v", c)
	}
	if c.Accounts.File != filepath.Join("flag", "accounts.yaml") || c.Audit.File != "" {
		t.Errorf("got %+v", c)
	}
	if c := load(t, "catalog: {path: /x.db}"); c.Validate() != nil || c.Catalog.Path != "/x.db" {
		t.Errorf("got %+v", c)
	}
}

func TestValidateFiles(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantError(t, load(t, "", "BERTH_DATA="+file).Validate(), folder, "BERTH_DATA: data: file is not a folder")
	wantError(t, load(t, "", "BERTH_CATALOG_PATH="+folder).Validate(), filepath.Dir(folder),
		"BERTH_CATALOG_PATH: catalog.path: "+filepath.Base(folder)+" is a folder; name a file")

	wantError(t, load(t, "", "BERTH_ACCOUNTS_FILE="+folder, "BERTH_AUDIT_FILE="+folder).Validate(), filepath.Dir(folder),
		"BERTH_ACCOUNTS_FILE: accounts.file: "+filepath.Base(folder)+" is a folder; name a file",
		"BERTH_AUDIT_FILE: audit.file: "+filepath.Base(folder)+" is a folder; name a file")

	certificate, key := pair(t, folder, "a")
	_, other := pair(t, folder, "b")
	with := func(certificate, key string) error {
		return load(t, "", "BERTH_HTTP_TLS_CERTIFICATE="+certificate, "BERTH_HTTP_TLS_KEY="+key).Validate()
	}
	if err := with(certificate, key); err != nil {
		t.Error(err)
	}
	missing := filepath.Join(folder, "missing")
	wantError(t, with(missing, missing), folder,
		"BERTH_HTTP_TLS_CERTIFICATE: http.tls.certificate: cannot be read: open missing: no such file or directory",
		"BERTH_HTTP_TLS_KEY: http.tls.key: cannot be read: open missing: no such file or directory")
	for name, err := range map[string]error{"another's key": with(certificate, other), "not PEM": with(file, key), "swapped": with(key, certificate)} {
		if err == nil || !strings.Contains(err.Error(), "are not a pair of PEM files that can be used: tls: ") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// pair makes a certificate and its key.
func pair(t *testing.T, folder, name string) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	public, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = filepath.Join(folder, name+".pem"), filepath.Join(folder, name+".key")
	for path, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: public}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}
