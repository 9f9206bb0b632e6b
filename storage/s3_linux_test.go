package storage_test

import (
	"bytes"
	"crypto/rand"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/distribution/distribution/v3/registry/storage/driver/s3-aws"

	"github.com/berth-oci/berth/storage"
	"github.com/berth-oci/berth/storage/storagetest"
)

// TestS3 runs the suite on an S3 server, in a folder of a bucket for each test.
func TestS3(t *testing.T) {
	if !slices.Contains(strings.Split(os.Getenv("TEST_REQUIRE"), ","), "s3") {
		t.Skip("skipped: needs an S3 server, to build which takes minutes; TEST_REQUIRE=s3 does")
	}
	// The server speaks plain HTTP; with a bundle, each opened driver would change
	// the transport that all share.
	t.Setenv("AWS_CA_BUNDLE", "")
	server := filepath.Join(t.TempDir(), "versitygw")
	build := exec.Command("go", "build", "-modfile=.ci/s3.mod", "-o", server, "github.com/versity/versitygw/cmd/versitygw")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("the S3 server does not build: %v\n%s", err, out)
	}
	access, secret, root := rand.Text(), rand.Text(), t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "bucket"), 0o700); err != nil {
		t.Fatal(err)
	}
	endpoint := startS3(t, server, access, secret, root)
	storagetest.Run(t, func(t *testing.T) *storage.Store {
		return open(t, "s3", map[string]any{
			"regionendpoint": endpoint, "region": "us-east-1", "forcepathstyle": true, "secure": false, "bucket": "bucket",
			"accesskey": access, "secretkey": secret, "rootdirectory": "/deep/" + rand.Text(),
		})
	})
}

// startS3 runs an S3 server on folders of root, and ends it with the test. It
// cannot choose a port by itself, and another may take a free one first.
func startS3(t *testing.T, path, access, secret, root string) (endpoint string) {
	t.Helper()
	var log string
	for range 5 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := l.Addr().String()
		_ = l.Close()
		if log = runS3(t, path, address, access, secret, root); log == "" {
			return "http://" + address
		}
	}
	t.Fatalf("the S3 server does not start:\n%s", log)
	return ""
}

// runS3 returns what the server said if it did not come up.
func runS3(t *testing.T, path, address, access, secret, root string) string {
	t.Helper()
	var log syncedBuffer
	server := exec.Command(path, "--port", address, "--quiet", "--keep-alive", "--health", "/healthz", "posix", root)
	server.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+access, "ROOT_SECRET_KEY="+secret)
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	server.Stdout, server.Stderr = &log, &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = server.Wait()
		close(exited)
	}()
	t.Cleanup(func() {
		_ = server.Process.Kill()
		<-exited
	})
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		select {
		case <-exited:
			return "it ended: " + log.String()
		default:
		}
		if answer, err := http.Get("http://" + address + "/healthz"); err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return ""
			}
		}
	}
	return "it does not answer: " + log.String()
}

// syncedBuffer may be read while it is written.
type syncedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (s *syncedBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Buffer.Write(p)
}

func (s *syncedBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Buffer.String()
}
