package webhook

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// history is a feed in memory, of a start.
type history struct {
	mu     sync.Mutex
	start  string
	first  int // of what is kept; guarded by mu
	events []Event
	more   chan struct{} // closed when there is more; guarded by mu
	most   int           // of what was asked for at a time; guarded by mu
	broken error         // guarded by mu
}

func newHistory() *history { return &history{start: "a", more: make(chan struct{})} }

// add adds changes of a repository.
func (h *history) add(repository string, n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for range n {
		revision := fmt.Sprintf("%s.%d", h.start, len(h.events)+1)
		data := fmt.Sprintf(`{"type":"push","revision":%q,"repository":%q}`, revision, repository)
		h.events = append(h.events, Event{Revision: revision, Type: "push", Subject: repository, Time: time.Unix(1, 5), Data: []byte(data)})
	}
	close(h.more)
	h.more = make(chan struct{})
}

// forget drops the oldest.
func (h *history) forget(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.first = n
}

// renew begins another start.
func (h *history) renew(start string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.start, h.first, h.events = start, 0, nil
}

func (h *history) position(revision string) (int, error) {
	number, ok := strings.CutPrefix(revision, h.start+".")
	n, err := strconv.Atoi(number)
	if !ok || err != nil || n < h.first || n > len(h.events) {
		return 0, ErrGone
	}
	return n, nil
}

func (h *history) Last(context.Context) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return fmt.Sprintf("%s.%d", h.start, len(h.events)), h.broken
}

func (h *history) After(_ context.Context, since string, n int) (events []Event, next string, err error) {
	return h.after(since, "", n)
}

// only is a history of one repository.
type only struct {
	*history
	repository string
}

func (o only) After(_ context.Context, since string, n int) (events []Event, next string, err error) {
	return o.after(since, o.repository, n)
}

func (h *history) after(since, repository string, n int) (events []Event, next string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.broken != nil {
		return nil, "", h.broken
	}
	h.most = max(h.most, n)
	at, err := h.position(since)
	if err != nil {
		return nil, "", err
	}
	for ; at < len(h.events) && len(events) < n; at++ {
		if e := h.events[at]; repository == "" || e.Subject == repository {
			events = append(events, e)
		}
	}
	return events, fmt.Sprintf("%s.%d", h.start, at), nil
}

func (h *history) Wait(ctx context.Context, since string) error {
	h.mu.Lock()
	at, err := h.position(since)
	more, all := h.more, len(h.events)
	h.mu.Unlock()
	if err != nil || at < all {
		return nil
	}
	select {
	case <-ctx.Done():
	case <-more:
	}
	return nil
}

func (h *history) Behind(_ context.Context, since string) (int64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at, err := h.position(since)
	return int64(len(h.events) - at), err
}

var testSecret = Secret("0123456789abcdefghijklmnopqrstuv")

// receiver notes what it has taken.
type receiver struct {
	t   *testing.T
	url *url.URL

	mu    sync.Mutex
	ids   []string     // guarded by mu
	taken []cloudEvent // guarded by mu
	tries int          // guarded by mu
}

// receive starts a receiver that checks everything about what it is sent. Unless
// refuse answers, an event is taken.
func receive(t *testing.T, refuse func(w http.ResponseWriter, r *http.Request, try int) bool) *receiver {
	t.Helper()
	rec := &receiver{t: t}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec.mu.Lock()
		rec.tries++
		try := rec.tries
		rec.mu.Unlock()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // cut off
		}
		e := rec.check(r, body)
		if refuse != nil && refuse(w, r, try) {
			return
		}
		rec.mu.Lock()
		defer rec.mu.Unlock()
		rec.ids = append(rec.ids, e.ID)
		rec.taken = append(rec.taken, e)
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(server.Close)
	rec.url = address(t, server.URL+"/hook?key=hidden")
	return rec
}

func address(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func (rec *receiver) check(r *http.Request, body []byte) (e cloudEvent) {
	t := rec.t
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&e); err != nil {
		t.Errorf("sent %s: %v", body, err)
	}
	at, err := strconv.ParseInt(r.Header.Get("webhook-timestamp"), 10, 64)
	if err != nil || time.Since(time.Unix(at, 0)).Abs() > time.Minute {
		t.Errorf("sent at %d, %v", at, err)
	}
	if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/cloudevents+json" || r.Header.Get("User-Agent") != "berth/test" ||
		r.Header.Get("webhook-id") != e.ID || r.Header.Get("webhook-signature") != Sign([]Secret{testSecret}, e.ID, at, body) {
		t.Errorf("sent %v", r.Header)
	}
	if e.SpecVersion != "1.0" || e.Source != "/v1/changes" || e.ContentType != "application/json" || !strings.HasPrefix(e.Type, TypePrefix) || e.Time == "" {
		t.Errorf("sent %+v", e)
	}
	return e
}

// got is what was taken, by its IDs, and how often something was sent.
func (rec *receiver) got() (ids []string, tries int) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return append([]string{}, rec.ids...), rec.tries
}

// wait waits until what was taken ends with an event.
func (rec *receiver) wait(last string) []string {
	rec.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		ids, tries := rec.got()
		if len(ids) > 0 && ids[len(ids)-1] == last {
			return ids
		}
		if time.Now().After(deadline) {
			rec.t.Fatalf("%s does not come; in %d tries came %v", last, tries, ids)
		}
	}
}

// logged keeps what is logged.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

var loopback = Policy{Inside: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}}

// options send everything of a feed to hooks, quickly.
func options(t *testing.T, feed Feed, hooks ...Hook) (Options, *logged) {
	l := &logged{}
	for i := range hooks {
		if hooks[i].Name == "" {
			hooks[i].Name = fmt.Sprint("hook", i)
		}
		hooks[i].Secrets = []Secret{testSecret}
		if hooks[i].Feed == nil {
			hooks[i].Feed = feed
		}
	}
	return Options{
		Hooks: hooks, State: filepath.Join(t.TempDir(), "webhooks.json"), Source: "/v1/changes", Agent: "berth/test", Policy: loopback,
		Shortest: time.Millisecond, Longest: 5 * time.Millisecond, Every: time.Millisecond, Timeout: 20 * time.Second, Log: slog.New(slog.NewTextHandler(l, nil)),
	}, l
}

// start begins to send, until the test ends.
func start(t *testing.T, o Options) *Sender {
	t.Helper()
	s, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestSign compares with what the libraries of Standard Webhooks make, by an example
// of theirs.
func TestSign(t *testing.T) {
	key, err := base64.StdEncoding.DecodeString("plJ3nmyCDGBKInavdOK15jsl")
	if err != nil {
		t.Fatal(err)
	}
	got := Sign([]Secret{key, testSecret}, "msg_loFOjxBNrRLzqYUf", 1731705121, []byte(`{"event_type":"ping","data":{"success":true}}`))
	first, second, _ := strings.Cut(got, " ")
	if first != "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=" || !strings.HasPrefix(second, "v1,") || second == first {
		t.Errorf("got %s", got)
	}
}
