package images

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// logTo returns a logger that a server and a test may use at the same time.
func logTo(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(&locked{w: w}, nil)) }

type locked struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func TestRoutes(t *testing.T) {
	server := serve(t, shop(), Options{})
	for _, path := range []string{"/v1/images/list", "/v1/images", "/v1/image-store", "/images"} {
		a := do(t, http.MethodHead, server.URL+path, "")
		if a.code != http.StatusOK || a.raw != "" || a.header.Get("Content-Type") != "application/json" {
			t.Errorf("HEAD %s: %d %q %v", path, a.code, a.raw, a.header)
		}
		for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"} {
			a := do(t, method, server.URL+path, "")
			wantFailure(t, a, http.StatusMethodNotAllowed, "want GET or HEAD")
			if a.header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: Allow is %q", method, path, a.header.Get("Allow"))
			}
		}
		for _, other := range []string{path + "/", path + "/x", path + "x", "/" + path, strings.Replace(path, "i", "%69", 1)} {
			wantFailure(t, get(t, server.URL+other, ""), http.StatusNotFound, "is not part of the API")
		}
	}
	for _, path := range []string{"/v1/", "/v1", "/v1/instances", "/v1/images%2Flist", "/v1/../images", "/", "/V1/images"} {
		wantFailure(t, get(t, server.URL+path, ""), http.StatusNotFound, "want /v1/images")
		wantFailure(t, do(t, "POST", server.URL+path, "x"), http.StatusNotFound, "want /v1/images")
	}
}

func TestBadRequest(t *testing.T) {
	server := serve(t, shop(), Options{MaxBody: 1000})
	for _, test := range []struct {
		query, body string
		code        int
		message     string
	}{
		{query: "namespace=A", code: 400, message: "query parameter namespace"},
		{query: "count=x", code: 400, message: "query parameter count"},
		{query: "uuid=x", code: 400, message: "query parameter uuid"},
		{query: "count=x", body: `{"tag":"alice/app"}`, code: 400, message: "query parameter count"},
		{query: "tag=" + strings.Repeat("A", 5000), code: 400, message: "…"},
		{body: `{"tag":`, code: 400, message: "body: neither JSON nor YAML"},
		{body: `[{"tag":"a/b"},{"digest":"alice/app@sha256:XYZ"}]`, code: 400, message: `body: item 2: digest: "alice/app@sha256:XYZ" is not a digest; want sha256:`},
		{body: `{"tag":null,"x":"` + strings.Repeat("x", 981) + `"}`, code: 200},
		{body: `{"x":"` + strings.Repeat("x", 993) + `"}`, code: 413, message: "want at most 1000 bytes"},
	} {
		a := get(t, server.URL+"/v1/images?"+test.query, test.body)
		if test.code == http.StatusOK {
			if a.code != test.code {
				t.Errorf("%s %s: got %d %s", test.query, test.body, a.code, a.raw)
			}
			continue
		}
		wantFailure(t, a, test.code, test.message)
		if len(a.raw) > 1000 || strings.Contains(a.raw, ".go") {
			t.Errorf("%s %s: got %s", test.query, test.body, a.raw)
		}
		if a := do(t, http.MethodHead, server.URL+"/v1/images?"+test.query, test.body); a.code != test.code || a.raw != "" {
			t.Errorf("HEAD %s: got %d %s", test.query, a.code, a.raw)
		}
	}
}

// send writes a request as it is, ends it there if it is to be cut off, and
// returns the answer's first line and the rest.
func send(t *testing.T, addr, request string, cut bool) (status, rest string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	if cut {
		// Only then: net/http takes a client that will send no more for gone.
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	r := bufio.NewReader(conn)
	status, err = r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(status), string(all)
}

func TestRawRequests(t *testing.T) {
	server := serve(t, shop(), Options{})
	addr := strings.TrimPrefix(server.URL, "http://")
	const head = "GET /v1/images HTTP/1.1\r\nHost: r.example.com\r\nConnection: close\r\n"
	body := `{"tag":"bob/app"}`
	for _, test := range []struct{ name, request, status, rest string }{
		{"cut off", head + "Content-Length: 100\r\n\r\n" + body, "HTTP/1.1 400 Bad Request", "body: cut off after 17 bytes"},
		{"cut off at once", head + "Content-Length: 100\r\n\r\n", "HTTP/1.1 400 Bad Request", "body: cut off after 0 bytes"},
		{"chunks without end", head + "Transfer-Encoding: chunked\r\n\r\n11\r\n" + body + "\r\n", "HTTP/1.1 400 Bad Request", "body: cut off"},
		{"chunks", head + "Transfer-Encoding: chunked\r\n\r\n11\r\n" + body + "\r\n0\r\n\r\n", "HTTP/1.1 200 OK", `"url":"r.example.com/bob/app@`},
		{"form", head + "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 17\r\n\r\n" + body, "HTTP/1.1 200 OK", `"url":"r.example.com/bob/app@`},
		{"large", head + fmt.Sprintf("Content-Length: %d\r\n\r\n", defaultMaxBody+1), "HTTP/1.1 413 Request Entity Too Large", "want at most 1048576 bytes"},
		{"no host", "GET /images?tag=bob/app HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK", `"url":"bob/app@`},
		{"backslashes", strings.Replace(head, "images", `images/list?namespace\=bob\&tagged`, 1) + "\r\n", "HTTP/1.1 200 OK", `"tags":["bob/app:latest"]`},
	} {
		status, rest := send(t, addr, test.request, strings.Contains(test.rest, "cut off"))
		if status != test.status || !strings.Contains(rest, test.rest) {
			t.Errorf("%s: got %s %s, want %s …%s", test.name, status, rest, test.status, test.rest)
		}
	}
}
