package load

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestBlob(t *testing.T) {
	for _, size := range []int64{0, 1, 31, 32, 33, 1 << 20, 3<<20 + 5} {
		b := Random(size)
		var content bytes.Buffer
		n, err := b.WriteTo(&content)
		if err != nil || n != size || int64(content.Len()) != size || b.Size != size {
			t.Errorf("a blob of %d bytes has %d (said %d, %d): %v", size, content.Len(), n, b.Size, err)
		}
		sum := sha256.Sum256(content.Bytes())
		if want := "sha256:" + hex.EncodeToString(sum[:]); b.Digest != want {
			t.Errorf("%d bytes: digest is %s, want %s", size, b.Digest, want)
		}
	}
	if one, other := Random(100), Random(100); one.Digest == other.Digest {
		t.Error("two blobs are the same")
	}
}

// server is a registry that keeps what it gets in memory.
type server struct {
	mu      sync.Mutex
	stored  map[string][]byte
	uploads int
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch content, found := s.stored[r.URL.Path]; {
	case r.Method == http.MethodPost:
		s.uploads++
		w.Header().Set("Location", "/v2/upload?state=a%2Fb")
		w.WriteHeader(http.StatusAccepted)
	case r.Method == http.MethodPut && r.URL.Query().Get("state") == "a/b":
		s.stored["/v2/a/b/blobs/"+r.URL.Query().Get("digest")] = body
		w.WriteHeader(http.StatusCreated)
	case r.Method == http.MethodPut:
		s.stored[r.URL.Path] = body
		w.WriteHeader(http.StatusCreated)
	case !found:
		http.Error(w, "there is none", http.StatusNotFound)
	default:
		_, _ = w.Write(content)
	}
}

func TestPushPull(t *testing.T) {
	for _, secure := range []bool{false, true} {
		s := &server{stored: map[string][]byte{}}
		h := httptest.NewUnstartedServer(s)
		target := Target{Address: h.Listener.Addr().String()}
		if secure {
			h.StartTLS()
			target.TLS = h.Client().Transport.(*http.Transport).TLSClientConfig
			target.TLS.ServerName = "example.com"
		} else {
			h.Start()
		}
		c, err := Dial(target)
		if err != nil {
			t.Fatal(err)
		}
		image := NewImage(Random(2_000_000), Random(10))
		if err := c.Push("a/b", "v1", image); err != nil {
			t.Fatal(err)
		}
		if err := c.Push("a/b", "v2", image); err != nil || s.uploads != 3 {
			t.Errorf("%d uploads of three blobs: %v", s.uploads, err)
		}
		for _, b := range image.Blobs() {
			sum := sha256.Sum256(s.stored["/v2/a/b/blobs/"+b.Digest])
			if "sha256:"+hex.EncodeToString(sum[:]) != b.Digest {
				t.Errorf("%s came as something else", b.Digest)
			}
		}
		if err := c.Pull("a/b", "v1", image); err != nil {
			t.Error(err)
		}
		if err := c.HeadManifest("a/b", "v1"); err != nil {
			t.Error(err)
		}
		if err := c.Pull("a/b", "v3", image); err == nil || !strings.Contains(err.Error(), "there is none") {
			t.Errorf("a tag that is not there: %v", err)
		}
		other := image
		other.Kernel.Size--
		if err := c.Blob("a/b", other.Kernel); err == nil {
			t.Error("nobody saw that an answer has another size")
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		h.Close()
	}
}

func TestDrive(t *testing.T) {
	h := httptest.NewServer(http.NotFoundHandler())
	defer h.Close()
	target := Target{Address: h.Listener.Addr().String()}
	var mu sync.Mutex
	seen := map[int]int{}
	do := func(_ *Conn, n int) error {
		mu.Lock()
		defer mu.Unlock()
		seen[n]++
		return nil
	}
	r, err := Drive(context.Background(), target, 3, Amount{Count: 100}, func() {}, do)
	if err != nil || r.Operations != 100 || len(r.Times) != 100 || len(seen) != 100 {
		t.Errorf("%d operations, %d seen: %v", r.Operations, len(seen), err)
	}
	// However short the time, each connection does something.
	r, err = Drive(context.Background(), target, 5, Amount{Time: time.Nanosecond}, func() {}, func(*Conn, int) error { return nil })
	if err != nil || r.Operations < 5 {
		t.Errorf("%d operations on 5 connections: %v", r.Operations, err)
	}
	_, err = Drive(context.Background(), target, 3, Amount{Count: 100}, func() {}, func(_ *Conn, n int) error {
		if n == 50 {
			return fmt.Errorf("the %dth fails", n)
		}
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "the 50th fails") {
		t.Errorf("the error is %v", err)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Drive(ended, target, 3, Amount{Count: 100}, func() {}, do); err == nil {
		t.Error("what was given up has ended well")
	}
}

func TestQuantile(t *testing.T) {
	r := Result{}
	if r.Quantile(0.5) != 0 {
		t.Error("nothing took some time")
	}
	for i := range 100 {
		r.Times = append(r.Times, time.Duration(i+1))
	}
	if r.Quantile(0.5) != 51 || r.Quantile(0.99) != 100 || r.Quantile(1) != 100 {
		t.Errorf("quantiles are %d, %d, %d", r.Quantile(0.5), r.Quantile(0.99), r.Quantile(1))
	}
}
