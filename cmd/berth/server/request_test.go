package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// lines is a log that a test reads while others write to it.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// logged are options with a log that can be read.
func logged(h http.Handler) (Options, *lines) {
	o, l := testOptions(h), &lines{}
	o.AccessLog, o.Log = true, slog.New(LogHandler(slog.NewJSONHandler(l, nil)))
	return o, l
}

// TestPanic panics before and after the answer has begun.
func TestPanic(t *testing.T) {
	o, log := logged(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "late" {
			fmt.Fprint(w, strings.Repeat("x", 1<<20))
		}
		if r.URL.RawQuery == "abort" {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Length", "7")
		panic("a defect")
	}))
	s := httptest.NewServer(New(o).main.Handler)
	defer s.Close()
	for path, want := range map[string]string{
		"/v2/a/b/manifests/x": `{"errors":[{"code":"UNKNOWN","message":"the server`, "/v1/images": `{"status":"error","message":"the server`,
	} {
		r, _ := http.NewRequest("GET", s.URL+path, nil)
		r.Header.Set("X-Request-Id", "by-hand")
		a, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		var body bytes.Buffer
		_, _ = body.ReadFrom(a.Body)
		a.Body.Close()
		if a.StatusCode != 500 || !strings.HasPrefix(body.String(), want) || !strings.Contains(body.String(), "(request by-hand)") || strings.Contains(body.String(), "defect") {
			t.Errorf("%s: %d %s", path, a.StatusCode, &body)
		}
	}
	for _, query := range []string{"?late", "?abort"} {
		a, err := http.Get(s.URL + "/v2/" + query)
		if err == nil {
			var body bytes.Buffer
			_, err = body.ReadFrom(a.Body)
			a.Body.Close()
		}
		if err == nil {
			t.Errorf("%s: the answer looks complete", query)
		}
	}
	errors := 0
	for line := range strings.Lines(log.String()) {
		if !strings.Contains(line, `"level":"ERROR"`) {
			continue
		}
		errors++
		for _, want := range []string{`"panic":"a defect"`, `"request":"`, "request_test.go"} {
			if !strings.Contains(line, want) {
				t.Errorf("no %s in %s", want, line)
			}
		}
	}
	if errors != 3 {
		t.Errorf("%d panics are logged, want 3:\n%s", errors, log)
	}
}

// TestAccessLog reads what is logged of a hostile request.
func TestAccessLog(t *testing.T) {
	o, log := logged(readAll)
	type account struct{}
	o.Within = func(ctx context.Context) context.Context { return context.WithValue(ctx, account{}, "alice") }
	o.Account = func(r *http.Request) string { return r.Context().Value(account{}).(string) }
	s := New(o)
	r := httptest.NewRequest("GET", "/v2/"+strings.Repeat("%ff", 10_000), nil)
	r.Method = strings.Repeat("M", 5000)
	r.Header.Set("User-Agent", strings.Repeat("\xff", 60_000))
	r.RemoteAddr = "192.0.2.1:5"
	w := httptest.NewRecorder()
	s.main.Handler.ServeHTTP(w, r)
	if got := w.Header().Get("X-Content-Type-Options"); got != "nosniff" {
		t.Errorf("X-Content-Type-Options: %q", got)
	}
	var line struct {
		Method, Path, Agent, Account, Client string
		Seconds                              *float64
	}
	if err := json.Unmarshal([]byte(log.String()), &line); err != nil || len(log.String()) > 8*mostShown {
		t.Fatalf("%d bytes, %v", len(log.String()), err)
	}
	if line.Account != "alice" || line.Client != "192.0.2.1:5" || line.Seconds == nil || !strings.HasPrefix(line.Agent, `\xff\xff`) ||
		!strings.HasSuffix(line.Agent, "…") || !strings.HasPrefix(line.Method, "MMM") {
		t.Errorf("%+v", line)
	}
	for value, want := range map[string]string{"curl/8": "curl/8", "grün": "grün", "a\nb": `a\nb`, "": "", "\x1b[2J": `\x1b[2J`} {
		if got := shown(value); got != want {
			t.Errorf("%q is shown as %q, want %q", value, got, want)
		}
	}
}

// TestCutOffLogged stops the server while a request is in flight.
func TestCutOffLogged(t *testing.T) {
	o, log := logged(busyOr)
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		p, stopped := newPipes(), make(chan error, 1)
		s := New(o)
		go func() { stopped <- s.Serve(ctx, p) }()
		c := p.dial("192.0.2.1:1")
		defer c.Close()
		send(t, c, "GET", "/v2/busy", 0, "")
		time.Sleep(5 * time.Second)
		stop()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
	if got := log.String(); !strings.Contains(got, "request cut off") || !strings.Contains(got, `"path":"/v2/busy"`) || !strings.Contains(got, `"seconds":6`) {
		t.Errorf("got %s", got)
	}
}
