package harness

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
)

// NewRequest returns a request for a handler in the test's own process, as it comes
// from a connection; header is name, value, name, value.
func NewRequest(method, target string, body io.Reader, header ...string) *http.Request {
	r := httptest.NewRequest(method, target, body)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	if r.ContentLength > 0 {
		r.Header.Set("Content-Length", strconv.FormatInt(r.ContentLength, 10))
	}
	return r
}

// Serve has a handler answer a request.
func Serve(h http.Handler, method, target, body string, header ...string) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, NewRequest(method, target, strings.NewReader(body), header...))
	return answer
}

// MustServe has a handler answer a request, and ends the test for any other status.
func MustServe(t testing.TB, h http.Handler, status int, method, target, body string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	answer := Serve(h, method, target, body, header...)
	if answer.Code != status {
		t.Fatalf("%s %s: %d %s, want %d", method, target, answer.Code, answer.Body, status)
	}
	return answer
}
