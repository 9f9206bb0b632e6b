// Package operation tests what whoever runs berth sees: commands, probes, metrics,
// the log, and a proxy in front.
package operation

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
)

func TestSecondInstance(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	begin := time.Now()
	stdout, stderr, code := harness.CommandLine(t, nil, "serve", "--listen", "127.0.0.1:0", "--data", b.Data)
	if code != 1 || stdout != "" || !strings.Contains(stderr, "another berth is using "+b.Data) {
		t.Errorf("exited with %d and said %q, %q", code, stdout, stderr)
	}
	if took := time.Since(begin); took > 30*time.Second { // the first would run for longer
		t.Errorf("it took %v to say so", took)
	}
	// The first is none the worse for it, and the address is as exclusive.
	harness.WantAll(t, b)
	_, stderr, code = harness.CommandLine(t, nil, "serve", "--listen", b.Host, "--data", t.TempDir())
	if code != 1 || !strings.Contains(stderr, "cannot listen on "+b.Host) {
		t.Errorf("on an address in use: exited with %d and said %q", code, stderr)
	}
}

func TestListenOpenly(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0"} {
		begin := time.Now()
		_, stderr, code := harness.CommandLine(t, nil, "serve", "--listen", address, "--data", t.TempDir())
		if code != 1 || !strings.Contains(stderr, "http.open") || !strings.Contains(stderr, "BERTH_HTTP_OPEN") || time.Since(begin) > 30*time.Second {
			t.Errorf("%s: exited with %d after %v and said %q", address, code, time.Since(begin), stderr)
		}
	}
	if _, stderr, code := harness.CommandLine(t, []string{"BERTH_HTTP_OPEN=true"}, "config", "check", "--listen", "0.0.0.0:5000"); code != 0 {
		t.Errorf("with permission: exited with %d and said %q", code, stderr)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	stdout, stderr, code := harness.CommandLine(t, nil, "version")
	if code != 0 || stderr != "" || !regexp.MustCompile(`^berth \S+ go1\.\S+ \w+/\w+\n$`).MatchString(stdout) {
		t.Errorf("exited with %d and said %q, %q", code, stdout, stderr)
	}
	if stdout, _, code := harness.CommandLine(t, nil, "completion", "bash"); code != 0 || !strings.Contains(stdout, "berth") {
		t.Errorf("completion: exited with %d and said %.100q", code, stdout)
	}
}

func TestHealthcheck(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	if stdout, stderr, code := harness.CommandLine(t, nil, "healthcheck", "--listen", b.Host); code != 0 {
		t.Errorf("exited with %d and said %q, %q", code, stdout, stderr)
	}
	if _, stderr, code := harness.CommandLine(t, []string{"BERTH_HTTP_LISTEN=" + b.Host}, "healthcheck"); code != 0 {
		t.Errorf("by environment: exited with %d and said %q", code, stderr)
	}
	b.Stop()
	if _, stderr, code := harness.CommandLine(t, nil, "healthcheck", "--listen", b.Host); code != 1 || !strings.Contains(stderr, "not ready") {
		t.Errorf("against nothing: exited with %d and said %q", code, stderr)
	}
	// Something that takes the connection and never answers is not well.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, stderr, code := harness.CommandLine(t, nil, "healthcheck", "--listen", l.Addr().String(), "--timeout", "300ms"); code != 1 {
		t.Errorf("against silence: exited with %d and said %q", code, stderr)
	}
}

func TestConfigCheck(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	env := []string{"BERTH_HTTP_PUBLIC_URL=https://registry.example.com", "BERTH_HTTP_OPEN=true", "BERTH_LOG_FORMAT=json"}
	first, stderr, code := harness.CommandLine(t, env, "config", "check", "--listen", "127.0.0.1:5001", "--data", dir)
	if code != 0 || !strings.Contains(first, "https://registry.example.com") || !strings.Contains(first, "127.0.0.1:5001") {
		t.Fatalf("exited with %d and said %q, %q", code, first, stderr)
	}
	file := filepath.Join(dir, "berth.yaml")
	if err := os.WriteFile(file, []byte(first), 0o600); err != nil {
		t.Fatal(err)
	}
	second, stderr, code := harness.CommandLine(t, nil, "config", "check", "--config", file)
	if code != 0 || second != first {
		t.Errorf("exited with %d and said %q; loaded again it prints\n%s\nwant\n%s", code, stderr, second, first)
	}
	const secret = "9f2c41d07be85a6630d1e4f7c8b29a5d7e3f0618a4c5b9d20e6f7183a94c5d2b"
	masked, _, code := harness.CommandLine(t, []string{"BERTH_HTTP_SECRET=" + secret}, "config", "check")
	if code != 0 || strings.Contains(masked, secret) {
		t.Errorf("a secret is printed: %s", masked)
	}

	if err := os.WriteFile(file, []byte("log:\n  level: info\nhttp:\n  lisen: 127.0.0.1:5000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stderr, code = harness.CommandLine(t, nil, "config", "check", "--config", file)
	for _, want := range []string{file, "4", "http.lisen", "listen"} { // where, the line, what, and what was meant
		if code != 1 || !strings.Contains(stderr, want) {
			t.Errorf("exited with %d and does not say %q: %s", code, want, stderr)
		}
	}
}

func TestProbes(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ready\n"} {
		if got := string(b.Get(t, path, "")); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
		b.Must(t, http.StatusOK, http.MethodHead, path, nil)
	}
	b.Must(t, http.StatusNotFound, http.MethodGet, "/", nil)
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	f, rom := harness.FixtureNamed(t, "kraft-hello"), harness.FixtureNamed(t, "unikraft-rom")
	use := func(account string) {
		for _, f := range []harness.Fixture{f, rom} {
			repository := account + "/" + f.Name
			if err := harness.PushGGCR(t, b, f.Dir(), f.Tag, repository); err != nil {
				t.Fatal(err)
			}
			harness.WantFixture(t, b, f, repository, f.Tag)
			b.Must(t, http.StatusNotFound, http.MethodGet, "/v2/"+repository+"/manifests/none", nil)
		}
		b.Must(t, http.StatusNotFound, http.MethodGet, "/"+account+"/anything", nil)
	}
	use("alice")
	harness.Metrics(t, b) // to ask for them makes series too
	first := harness.Metrics(t, b)
	for name, want := range map[string]string{
		`berth_images{kind="unikernel"}`:       "1",
		`berth_images{kind="rom"}`:             "1",
		`berth_repositories{kind="unikernel"}`: "2",
		`berth_repositories{kind="other"}`:     "0",
		`berth_manifests`:                      "4",
		`berth_http_requests_total{code="201",method="PUT",route="v2_manifests"}`: "4",
		`berth_http_requests_total{code="404",method="GET",route="v2_manifests"}`: "2",
	} {
		if first[name] != want {
			t.Errorf("%s is %q, want %s", name, first[name], want)
		}
	}
	for _, name := range []string{
		`berth_http_request_duration_seconds_count{route="images_v1"}`, "berth_http_received_bytes_total",
		"berth_http_sent_bytes_total", `berth_index_operations_total{operation="list",result="ok"}`,
		`berth_index_operation_duration_seconds_count{operation="list"}`, "go_goroutines", "process_resident_memory_bytes",
		`berth_disk_free_bytes{folder="data"}`, `berth_disk_size_bytes{folder="data"}`,
		`berth_disk_free_bytes{folder="storage"}`, `berth_disk_size_bytes{folder="storage"}`, "berth_index_size_bytes",
	} {
		if value := first[name]; value == "" || value == "0" {
			t.Errorf("%s is %q", name, value)
		}
	}
	// The same from others makes no new series.
	for _, account := range []string{"bob", "carol", "dave"} {
		use(account)
	}
	for series := range harness.Metrics(t, b) {
		if _, ok := first[series]; !ok {
			t.Errorf("new series: %s", series)
		}
		for _, name := range []string{"alice", "bob", "carol", "dave", f.Name, "anything"} {
			if strings.Contains(series, name) {
				t.Errorf("a series holds %s: %s", name, series)
			}
		}
	}
}

// TestRequestID follows a request by its ID.
func TestRequestID(t *testing.T) {
	t.Parallel()
	b := harness.Start(t, harness.WithArgs("--log-format", "json"))
	for i, path := range []string{
		"/v2/alice/app/manifests/none", "/v2/alice/app/blobs/" + harness.HelloDigest, "/v2/Alice/", "/v2/alice/app/tags/list",
		"/v1/images?count=x", "/v1/none", "/v1/images?tag=alice/app",
	} {
		id := fmt.Sprintf("by-hand.%d", i)
		a, err := b.Do(http.MethodGet, path, nil, "X-Request-Id", id)
		if err != nil {
			t.Fatal(err)
		}
		if a.Status < 400 || a.Header.Get("X-Request-Id") != id || !strings.Contains(string(a.Body), "(request "+id+")") {
			t.Errorf("%s: got %d %s with the ID %q", path, a.Status, a.Body, a.Header.Get("X-Request-Id"))
		}
		asked, _, _ := strings.Cut(path, "?")
		harness.Eventually(t, "no access log line has "+id, func() bool {
			return slices.ContainsFunc(strings.Split(b.Log.String(), "\n"), func(line string) bool {
				return strings.Contains(line, `"msg":"request"`) && strings.Contains(line, `"request":"`+id+`"`) &&
					strings.Contains(line, `"path":"`+asked+`"`) && strings.Contains(line, fmt.Sprintf(`"status":%d`, a.Status))
			})
		})
	}
	// An ID that a log should not hold is replaced, and one that is missing made.
	for _, given := range []string{"", "two words", strings.Repeat("x", 65), `"quoted"`} {
		a, err := b.Do(http.MethodGet, "/v2/", nil, "X-Request-Id", given)
		if err != nil {
			t.Fatal(err)
		}
		if id := a.Header.Get("X-Request-Id"); id == given || !regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(id) {
			t.Errorf("given %q, the ID is %q", given, id)
		}
	}
}
