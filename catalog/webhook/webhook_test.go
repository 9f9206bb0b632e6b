package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// wantAll wants what was taken to begin with a Resync, and then, repetitions left
// out, all of a start from one revision to another.
func wantAll(t *testing.T, ids []string, begin string, numbers ...int) {
	t.Helper()
	want := []string{begin}
	for _, n := range numbers {
		want = append(want, fmt.Sprint("a.", n))
	}
	var first []string
	for i, id := range ids {
		if !slices.Contains(ids[:i], id) {
			first = append(first, id)
		}
	}
	if !slices.Equal(first, want) {
		t.Errorf("came %v, want %v", ids, want)
	}
}

func upTo(from, to int) (all []int) {
	for n := from; n <= to; n++ {
		all = append(all, n)
	}
	return all
}

// TestOrder: whatever the receiver does, and though the sender is started again and
// again, each event comes, in order, and after each new start at most what was not
// written down comes again.
func TestOrder(t *testing.T) {
	t.Parallel()
	h := newHistory()
	rec := receive(t, func(w http.ResponseWriter, _ *http.Request, try int) bool {
		switch try % 7 {
		case 1:
			w.WriteHeader(http.StatusInternalServerError)
		case 3:
			panic(http.ErrAbortHandler) // the connection ends
		case 5:
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(http.StatusTooManyRequests)
		default:
			return false
		}
		return true
	})
	o, log := options(t, h, Hook{URL: rec.url})
	for round := range 5 {
		s, err := Start(o)
		if err != nil {
			t.Fatal(err)
		}
		rec.wait(map[bool]string{true: "a.0.resync", false: fmt.Sprint("a.", 20*round)}[round == 0])
		h.add("alice/app", 20)
		if round%2 == 1 {
			rec.wait(fmt.Sprint("a.", 20*round+20))
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s := start(t, o)
	ids := rec.wait("a.100")
	wantAll(t, ids, "a.0.resync", upTo(1, 100)...)
	// A sender that is closed writes its cursors: nothing came twice.
	if len(ids) != 101 {
		t.Errorf("%d came, of 101", len(ids))
	}
	text := log.String()
	if !strings.Contains(text, "webhook=hook0") || !strings.Contains(text, "gets on again") || strings.Contains(text, "hidden") || strings.Contains(text, "/hook") {
		t.Errorf("logged\n%s", text)
	}
	for deadline := time.Now().Add(30 * time.Second); s.Status(t.Context())[0].Behind != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("stays behind: %+v", s.Status(t.Context()))
		}
	}
}

// TestKilled starts from cursors of a while ago, as after a crash: what came since
// comes again, and nothing is left out.
func TestKilled(t *testing.T) {
	t.Parallel()
	h, rec := newHistory(), receive(t, nil)
	o, _ := options(t, h, Hook{URL: rec.url})
	s := start(t, o)
	rec.wait("a.0.resync")
	h.add("alice/app", 10)
	rec.wait("a.10")
	kept := waitFile(t, o.State, `"a.10"`)
	h.add("alice/app", 10)
	rec.wait("a.20")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(o.State, kept, 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, o)
	h.add("alice/app", 1)
	wantAll(t, rec.wait("a.21"), "a.0.resync", upTo(1, 21)...)
	if ids, _ := rec.got(); len(ids) != 1+10+10+11 {
		t.Errorf("%d came", len(ids))
	}
}

func waitFile(t *testing.T, path, holds string) []byte {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		text, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(text), holds) {
			return text
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s holds %s, %v", path, text, err)
		}
	}
}

// TestFewWrites: cursors are not written for each event.
func TestFewWrites(t *testing.T) {
	t.Parallel()
	h, rec := newHistory(), receive(t, nil)
	o, _ := options(t, h, Hook{URL: rec.url})
	o.Every = time.Hour
	s := start(t, o)
	rec.wait("a.0.resync")
	h.add("alice/app", 300)
	rec.wait("a.300")
	// Where it begins is written at once: after a crash it is not to begin later.
	if text, err := os.ReadFile(o.State); err != nil || !strings.Contains(string(text), `"a.0"`) {
		t.Errorf("the cursors are %s, %v", text, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	waitFile(t, o.State, `"a.300"`)
}

// TestNotWritten: cursors that cannot be written are written once they can be, and
// events go on meanwhile.
func TestNotWritten(t *testing.T) {
	t.Parallel()
	h, rec := newHistory(), receive(t, nil)
	o, log := options(t, h, Hook{URL: rec.url})
	var away atomic.Bool
	away.Store(true)
	o.Check = func() error {
		if away.Load() {
			return errors.New("the folder is away")
		}
		return nil
	}
	start(t, o)
	rec.wait("a.0.resync")
	h.add("alice/app", 3)
	rec.wait("a.3")
	for !strings.Contains(log.String(), "the folder is away") {
		time.Sleep(time.Millisecond)
	}
	if _, err := os.Stat(o.State); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("written: %v", err)
	}
	away.Store(false)
	waitFile(t, o.State, `"a.3"`)
}

// TestFilter: what does not fit is not sent, and the cursor moves over it.
func TestFilter(t *testing.T) {
	t.Parallel()
	h, rec := newHistory(), receive(t, nil)
	o, _ := options(t, h, Hook{URL: rec.url, Feed: only{h, "alice/app"}})
	start(t, o)
	rec.wait("a.0.resync")
	h.add("bob/app", 100)
	h.add("alice/app", 1)
	h.add("bob/app", 100)
	wantAll(t, rec.wait("a.101"), "a.0.resync", 101)
	waitFile(t, o.State, `"a.201"`)
}

// TestResync: a receiver is told to list again whenever something may be missing,
// and gets all that comes after that.
func TestResync(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(h *history, o *Options)
		id     string
		reason string
		next   string
	}{
		"kept no longer": {func(h *history, _ *Options) { h.add("alice/app", 50); h.forget(40) }, "a.55.resync", Expired, "a.56"},
		"another index":  {func(h *history, _ *Options) { h.renew("b"); h.add("alice/app", 3) }, "b.3.resync", Expired, "b.4"},
		"an older index": {func(h *history, _ *Options) { h.events = h.events[:2] }, "a.2.resync", Expired, "a.3"},
		"another filter": {func(_ *history, o *Options) { o.Hooks[0].Filter = "alice/app" }, "a.5.resync", Started, "a.6"},
		"another address": {func(_ *history, o *Options) {
			u := *o.Hooks[0].URL
			u.RawQuery = "key=new"
			o.Hooks[0].URL = &u
		}, "a.5.resync", Started, "a.6"},
		"no cursors": {func(_ *history, o *Options) { _ = os.Remove(o.State) }, "a.5.resync", Started, "a.6"},
		"damaged cursors": {func(_ *history, o *Options) {
			_ = os.WriteFile(o.State, []byte(`{"hook0":{"revis`), 0o600)
		}, "a.5.resync", Started, "a.6"},
		"a foreign cursor": {func(_ *history, o *Options) {
			text, _ := os.ReadFile(o.State)
			_ = os.WriteFile(o.State, []byte(strings.Replace(string(text), `"a.5"`, `"../../x"`, 1)), 0o600)
		}, "a.5.resync", Expired, "a.6"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, rec := newHistory(), receive(t, nil)
			o, _ := options(t, h, Hook{URL: rec.url})
			s := start(t, o)
			rec.wait("a.0.resync")
			h.add("alice/app", 5)
			rec.wait("a.5")
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			test.change(h, &o)
			start(t, o)
			ids := rec.wait(test.id)
			var data struct{ Type, Revision, Reason string }
			last := rec.taken[len(rec.taken)-1]
			if err := json.Unmarshal(last.Data, &data); err != nil || last.Type != TypePrefix+Resync || data.Type != Resync || data.Reason != test.reason || data.Revision+".resync" != test.id {
				t.Errorf("told %s, %v", last.Data, err)
			}
			h.add("alice/app", 1)
			if after := rec.wait(test.next); len(after) != len(ids)+1 {
				t.Errorf("came %v", after)
			}
		})
	}
}

// TestDeadHoldsNothing: a receiver that takes nothing holds up no other one and
// nothing in memory, however much there is for it.
func TestDeadHoldsNothing(t *testing.T) {
	h, rec := newHistory(), receive(t, nil)
	var down atomic.Bool
	dead := receive(t, func(w http.ResponseWriter, _ *http.Request, _ int) bool {
		if down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return down.Load()
	})
	o, _ := options(t, h, Hook{URL: dead.url}, Hook{URL: rec.url})
	s := start(t, o)
	dead.wait("a.0.resync")
	rec.wait("a.0.resync")
	down.Store(true)
	goroutines := runtime.NumGoroutine()
	for n := 1; n <= 20; n++ {
		h.add("alice/app", 50)
		rec.wait(fmt.Sprint("a.", 50*n))
	}
	_, before := dead.got()
	for tries := before; tries < before+20; _, tries = dead.got() {
		time.Sleep(time.Millisecond)
	}
	status := s.Status(t.Context())
	if status[0].Behind != 1000 || status[0].Taken != 1 || status[0].Failed < 20 || status[0].FailingSince.IsZero() || status[1].Taken != 1001 || status[1].Failed != 0 {
		t.Errorf("got %+v", status)
	}
	h.mu.Lock()
	if h.most > batch {
		t.Errorf("%d events were read at a time", h.most)
	}
	h.mu.Unlock()
	if now := runtime.NumGoroutine(); now > goroutines+10 {
		t.Errorf("%d goroutines, of %d", now, goroutines)
	}
	down.Store(false)
	wantAll(t, dead.wait("a.1000"), "a.0.resync", upTo(1, 1000)...)
}

// TestFeedFails: what cannot be read is tried again.
func TestFeedFails(t *testing.T) {
	t.Parallel()
	h, rec := newHistory(), receive(t, nil)
	h.broken = errors.New("the disk is gone")
	o, log := options(t, h, Hook{URL: rec.url})
	start(t, o)
	for !strings.Contains(log.String(), "the disk is gone") {
		time.Sleep(time.Millisecond)
	}
	h.mu.Lock()
	h.broken = nil
	h.mu.Unlock()
	rec.wait("a.0.resync")
}

// TestPause: tries come at intervals that grow, within bounds, and not before the
// receiver wants them.
func TestPause(t *testing.T) {
	l := &loop{options: Options{Shortest: time.Second, Longest: time.Minute}}
	for tries, most := range map[int]time.Duration{0: time.Second, 1: 2 * time.Second, 3: 8 * time.Second, 6: time.Minute, 60: time.Minute, 1000: time.Minute} {
		for range 100 {
			if got := l.pause(tries, errors.New("x")); got < most/2 || got > most {
				t.Errorf("after %d: %s", tries, got)
			}
		}
	}
	if got := l.pause(0, &refusal{after: 30 * time.Second}); got != 30*time.Second {
		t.Errorf("got %s", got)
	}
	if got := l.pause(0, &refusal{after: time.Hour}); got != time.Minute {
		t.Errorf("got %s", got)
	}
	for text, want := range map[string]time.Duration{"7": 7 * time.Second, "": 0, "-1": 0, "x": 0, "99999999999999999999": 0, "Mon, 02 Jan 2006 15:04:05 GMT": 0} {
		if got := retryAfter(http.Header{"Retry-After": {text}}); got != want {
			t.Errorf("%q: %s", text, got)
		}
	}
	if got := retryAfter(http.Header{"Retry-After": {time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)}}); got < 59*time.Minute || got > time.Hour {
		t.Errorf("got %s", got)
	}
}
