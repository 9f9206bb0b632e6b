package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestNewRefuses(t *testing.T) {
	for _, base := range []string{"", "registry.example.com", "127.0.0.1:5000", "ftp://a", "http://", "http://a?x=1", "http://me:secret@a", "http://a/#x", ":"} {
		if _, err := New(base); err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "like https://registry.example.com") {
			t.Errorf("%q: %v", base, err)
		}
	}
}

// answering is a client of a server that answers with a handler.
func answering(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	c, err := New(server.URL+"/below/", WithToken(Token("t")), WithUserAgent("test/1"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRequests(t *testing.T) {
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer t" || r.Header.Get("User-Agent") != "test/1" || r.Header.Get("Accept") != "application/json" {
			t.Errorf("sent %v", r.Header)
		}
		_, _ = io.WriteString(w, `{"status":"success","data":{"images":[{"url":"h/`+r.URL.RequestURI()+`@d"}]},"op_time_us":1}`)
	})
	for image, want := range map[string]string{
		"alice/app:v1": "/below/v1/images?tag=alice%2Fapp%3Av1", "a/b@sha256:00": "/below/v1/images?digest=a%2Fb%40sha256%3A00", "sha512:00": "/below/v1/images?digest=sha512%3A00",
		"6ba7b810-9dad-11d1-80b4-00c04fd430c8": "/below/v1/images/6ba7b810-9dad-11d1-80b4-00c04fd430c8", "6ba7b810+9dad-11d1-80b4-00c04fd430c8": "/below/v1/images?tag=6ba7b810%2B9dad-11d1-80b4-00c04fd430c8",
	} {
		if got, err := c.Get(t.Context(), image); err != nil || got.Name() != want {
			t.Errorf("%s: asked %s, %v", image, got.Name(), err)
		}
	}
}

// TestBadAnswers is told what no berth says.
func TestBadAnswers(t *testing.T) {
	var e *Error
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		right  func(error) bool
	}{
		"no JSON": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, func(err error) bool { return strings.Contains(err.Error(), "not answered as a berth does") }},
		"nothing": {func(http.ResponseWriter, *http.Request) {}, func(err error) bool { return strings.Contains(err.Error(), "not answered as a berth does") }},
		"another list": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"status":"success","data":{"instances":[]}}`)
		}, func(err error) bool { return strings.Contains(err.Error(), "not answered as a berth does") }},
		"a proxy": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, func(err error) bool {
			return errors.As(err, &e) && e.Status == http.StatusBadGateway && e.Message == "Bad Gateway"
		}},
		"busy": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, `{"status":"error","message":"later","errors":[{"status":503}]}`)
		}, func(err error) bool {
			return errors.As(err, &e) && e.RetryAfter == 7*time.Second && e.Message == "later"
		}},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"status":"success"`)
		}, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		"an error with 200": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"status":"error","message":"no"}`)
		}, func(err error) bool { return errors.As(err, &e) && e.Message == "no" }},
		"a link elsewhere": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", `<https://evil.example.org/v1/images>; rel="next"`)
			_, _ = io.WriteString(w, `{"status":"success","data":{"images":[]}}`)
		}, func(err error) bool { return strings.Contains(err.Error(), "leads somewhere else") }},
		"a link to itself": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", "<"+r.URL.RequestURI()+`>; rel="next"`)
			_, _ = io.WriteString(w, `{"status":"success","data":{"images":[]}}`)
		}, func(err error) bool { return strings.Contains(err.Error(), "links to itself") }},
	} {
		c, asked := answering(t, test.answer), 0
		for _, err := range c.List(t.Context(), ListOptions{}) {
			if asked++; err == nil || !test.right(err) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if asked != 1 {
			t.Errorf("%s: the list goes on %d times", name, asked)
		}
	}
}

// TestContextEnds ends a list in the middle.
func TestContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", `</below/v1/images?after=x`+r.URL.Query().Get("after")+`>; rel="next"`)
		_, _ = io.WriteString(w, `{"status":"success","data":{"images":[{"uuid":"a"}]}}`)
	})
	n := 0
	for _, err := range c.List(ctx, ListOptions{}) {
		if n++; n == 3 {
			cancel()
		}
		if n > 3 && !errors.Is(err, context.Canceled) || n <= 3 && err != nil {
			t.Fatalf("%d: %v", n, err)
		}
	}
	if n != 4 {
		t.Errorf("%d steps", n)
	}
}

func TestTooLarge(t *testing.T) {
	if testing.Short() {
		t.Skip("sends 64 MiB")
	}
	c := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.Copy(w, io.LimitReader(endless{}, mostBytes+1))
	})
	if _, err := c.Quotas(t.Context()); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("got %v", err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}
