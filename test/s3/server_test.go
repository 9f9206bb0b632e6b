// Package s3 runs berth on a bucket.
package s3

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
)

// program is the S3 server that the tests run berth on.
var program = harness.NewProgram(".ci/s3.mod", "github.com/versity/versitygw/cmd/versitygw")

// server is a running S3 server.
type server struct {
	// endpoint has a name as its host where berth has an address, since clients
	// treat a redirect to another port of the same host as one within it.
	endpoint, access, secret string

	t    testing.TB
	root string // a folder for each bucket
}

// startServer runs an S3 server with keys of its own, and ends it with the test.
func startServer(t testing.TB) *server {
	t.Helper()
	harness.Long(t, "s3", "to build an S3 server takes minutes")
	path, err := program.Path()
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, access: rand.Text(), secret: rand.Text(), root: t.TempDir()}
	// It cannot choose a port by itself, and another may still take this one first.
	var log *harness.LogBuffer
	for range 5 {
		if log = s.run(path); log == nil {
			return s
		}
	}
	t.Fatalf("the S3 server does not start:\n%s", log)
	return nil
}

// run returns what the server said if it did not come up.
func (s *server) run(path string) *harness.LogBuffer {
	s.t.Helper()
	address := harness.FreeAddress(s.t)
	log := &harness.LogBuffer{}
	server := exec.Command(path, "--port", address, "--quiet", "--keep-alive", "--health", "/healthz", "posix", s.root)
	server.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+s.access, "ROOT_SECRET_KEY="+s.secret)
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	server.Stdout, server.Stderr = log, log
	if err := server.Start(); err != nil {
		s.t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = server.Wait()
		close(exited)
	}()
	s.t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGTERM)
		select {
		case <-exited:
		case <-time.After(10 * time.Second):
			_ = server.Process.Kill()
			<-exited
		}
	})
	health := harness.NewClient("http://" + address)
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		select {
		case <-exited:
			return log
		default:
		}
		if _, err := health.Want(http.StatusOK, http.MethodGet, "/healthz", nil); err == nil {
			s.endpoint = "http://" + strings.Replace(address, "127.0.0.1", "localhost", 1)
			return nil
		}
	}
	return log
}

// bucket makes an empty bucket and returns the settings of a berth on it.
// Blobs are served by berth, unless redirect says that clients get them from
// the bucket themselves.
func (s *server) bucket(name string, redirect bool) harness.Option {
	s.t.Helper()
	if err := os.Mkdir(filepath.Join(s.root, name), 0o700); err != nil {
		s.t.Fatal(err)
	}
	return harness.WithEnv("BERTH_STORAGE=s3", "BERTH_STORAGE_S3_REGION=us-east-1", "BERTH_STORAGE_S3_REGIONENDPOINT="+s.endpoint,
		"BERTH_STORAGE_S3_FORCEPATHSTYLE=true", "BERTH_STORAGE_S3_SECURE=false", "BERTH_STORAGE_S3_BUCKET="+name,
		"BERTH_STORAGE_S3_ROOTDIRECTORY=/deep/er", fmt.Sprintf("BERTH_STORAGE_S3_ACCESSKEY=%q", s.access),
		fmt.Sprintf("BERTH_STORAGE_S3_SECRETKEY=%q", s.secret), fmt.Sprintf("BERTH_STORAGE_REDIRECT_DISABLE=%t", !redirect))
}

// wantBlobFrom wants a blob from berth itself, or from where it sends the client.
func wantBlobFrom(t *testing.T, b *harness.Berth, repository string, blob []byte, redirect bool) {
	t.Helper()
	c := harness.NewClient(b.URL)
	path := "/v2/" + repository + "/blobs/" + harness.Digest(blob)
	a, err := c.Do(http.MethodGet, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if redirect {
		// Whether it is there, a client that pushes learns without the bucket.
		if head, err := c.Do(http.MethodHead, path, nil); err != nil || head.Status != http.StatusOK || head.Header.Get("Docker-Content-Digest") != harness.Digest(blob) {
			t.Errorf("HEAD %s: got %+v, %v", path, head, err)
		}
		if a.Status != http.StatusTemporaryRedirect {
			t.Fatalf("GET %s: got %d %s, want a redirect", path, a.Status, a.Body)
		}
		if a, err = c.Do(http.MethodGet, a.Header.Get("Location"), nil); err != nil {
			t.Fatal(err)
		}
	}
	if a.Status != http.StatusOK || !bytes.Equal(a.Body, blob) {
		t.Errorf("GET %s: got %d and %d bytes, want %d", path, a.Status, len(a.Body), len(blob))
	}
}
