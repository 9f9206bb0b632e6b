package harness

import (
	"bytes"
	"io"
	"net/http"
	"sync"
	"testing"
)

// looking sends requests, and compares what comes back with openapi.yaml.
type looking struct{ next http.RoundTripper }

// Looking is a transport whose answers must be as openapi.yaml says: one that is
// not ends with an error in place of its end, and fails the test of its berth.
func Looking(next http.RoundTripper) http.RoundTripper { return looking{next} }

// CloseIdleConnections closes those of the transport.
func (l looking) CloseIdleConnections() {
	if c, ok := l.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// RoundTrip sends a request.
func (l looking) RoundTrip(r *http.Request) (*http.Response, error) {
	if !Described(r.URL.Path) {
		return l.next.RoundTrip(r)
	}
	a := &lookedAt{request: r}
	if r.Body != nil && r.Body != http.NoBody {
		r = r.Clone(r.Context())
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(r.Body, &a.sent), r.Body}
	}
	answer, err := l.next.RoundTrip(r)
	if err != nil {
		return answer, err
	}
	a.ReadCloser, a.status, a.header = answer.Body, answer.StatusCode, answer.Header
	answer.Body = a
	return answer, nil
}

// lookedAt is the body of an answer.
type lookedAt struct {
	io.ReadCloser
	request *http.Request
	status  int
	header  http.Header
	sent    most
	got     most
	looked  bool
}

// most keeps what is written, as long as that is not too much.
type most struct {
	mu sync.Mutex // a body may be sent while its answer comes
	bytes.Buffer
	full bool
}

// Write never fails.
func (m *most) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.full = m.full || m.Len()+len(p) > mostDescribed; !m.full {
		m.Buffer.Write(p)
	}
	return len(p), nil
}

func (m *most) all() (content []byte, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytes.Clone(m.Bytes()), !m.full
}

// Read reads on.
func (a *lookedAt) Read(p []byte) (int, error) {
	n, err := a.ReadCloser.Read(p)
	_, _ = a.got.Write(p[:n])
	if err == io.EOF && !a.looked {
		a.looked = true
		if wrong := a.look(); wrong != nil {
			otherwise.add(a.request.URL.Host, wrong)
			return n, wrong
		}
	}
	return n, err
}

func (a *lookedAt) look() error {
	d, err := description()
	if err != nil {
		return err
	}
	got, ok := a.got.all()
	sent, whole := a.sent.all()
	if !ok || !whole {
		return nil // too much to be looked at in every test
	}
	return d.Check(a.request.Method, a.request.URL, sent, &Answer{a.status, a.header, got})
}

// wrongs are the answers that were otherwise, by the host that gave them.
type wrongs struct {
	mu  sync.Mutex
	all map[string][]error
}

var otherwise = wrongs{all: map[string][]error{}}

func (w *wrongs) add(host string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all[host] = append(w.all[host], err)
}

// report fails the test of a berth for each.
func (w *wrongs) report(t testing.TB, host string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, err := range w.all[host] {
		t.Error(err)
	}
	delete(w.all, host)
}
