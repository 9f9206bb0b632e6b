package images

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/registry/access"
)

// closedWorld is the API of a registry with accounts.
type closedWorld struct {
	real
	url, file string
	secrets   map[string]string
}

func newClosedWorld(t *testing.T, o Options, names ...string) *closedWorld {
	t.Helper()
	w := &closedWorld{real: newReal(t), file: filepath.Join(t.TempDir(), "accounts.yaml"), secrets: make(map[string]string)}
	for _, name := range names {
		token, secret := access.NewToken("t")
		w.secrets[name] = secret
		w.edit(func(f *access.File) error {
			f.Accounts = append(f.Accounts, access.Account{Name: name, Admin: name == "root", Tokens: []access.Token{token}})
			return nil
		})
	}
	quiet := slog.New(slog.DiscardHandler)
	accounts, err := access.Open(w.file, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(accounts.Close)
	o.Accounts, o.Log = accounts, quiet
	server := httptest.NewServer(access.NewGate(accounts, access.GateOptions{}).Wrap(New(w.real, o)))
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

// edit changes the accounts.
func (w *closedWorld) edit(fn func(f *access.File) error) {
	w.t.Helper()
	if err := access.Edit(w.file, fn); err != nil {
		w.t.Fatal(err)
	}
}

// account changes one account.
func (w *closedWorld) account(name string, fn func(a *access.Account)) {
	w.t.Helper()
	w.edit(func(f *access.File) error {
		for i := range f.Accounts {
			if f.Accounts[i].Name == name {
				fn(&f.Accounts[i])
				return nil
			}
		}
		return errors.New("no such account")
	})
}

func (w *closedWorld) stream(name, query string) *watching {
	w.t.Helper()
	return streamOf(w.t, w.url+"/v1/changes?"+query, "Authorization", "Bearer "+access.Bearer(name, w.secrets[name]))
}

// wantEnd reads on to the end of a stream, which is to be there for a reason.
func (w *watching) wantEnd(reason string, status int) {
	w.t.Helper()
	for {
		e, more := w.next()
		if !more {
			w.t.Fatalf("it has just ended, want %s", reason)
		}
		if e.Type != typeEnd {
			continue
		}
		if _, parsed := index.ParseRevision(e.Revision); e.Reason != reason || e.Status != status || e.Message == "" || parsed != nil {
			w.t.Errorf("ended: %+v, want %s", e, reason)
		}
		if _, more := w.next(); more {
			w.t.Error("it goes on")
		}
		return
	}
}

// TestPrivate: nobody is told of what they may not see, neither of images nor of who
// has pushed them, and a filter that names it is answered as one that names nothing.
func TestPrivate(t *testing.T) {
	w := newClosedWorld(t, Options{Bookmarks: 10 * time.Millisecond}, "alice", "bob", "root")
	w.account("bob", func(a *access.Account) { a.Read = []string{"alice/shared"} })
	alice, bob, root := w.stream("alice", ""), w.stream("bob", ""), w.stream("root", "")
	spy := w.stream("bob", "namespace=alice&namespace=bob&namespace=nobody")
	named := w.stream("bob", "repository=alice/secret&repository=bob/app")
	begin := w.Last().String()
	w.push("alice/secret", "one", "v1", "alice")
	w.push("alice/shared", "one", "v1", "alice")
	w.push("official/nginx", "one", "v1", "root")
	w.push("bob/app", "one", "v1", "bob")
	read := func(who *watching, until string) (got []string) {
		for {
			e, more := who.next()
			if !more {
				t.Fatalf("ended after %v", got)
			}
			if e.Type == typeBookmark {
				continue
			}
			if got = append(got, e.Repository+" by "+e.By); e.Repository == until {
				return got
			}
		}
	}
	for name, c := range map[string]struct {
		got  []string
		want string
	}{
		"alice": {read(alice, "official/nginx"), "[alice/secret by alice alice/shared by alice official/nginx by ]"},
		"bob":   {read(bob, "bob/app"), "[alice/shared by  official/nginx by  bob/app by bob]"},
		"root":  {read(root, "bob/app"), "[alice/secret by alice alice/shared by alice official/nginx by root bob/app by bob]"},
		"spy":   {read(spy, "bob/app"), "[alice/shared by  bob/app by bob]"},
		"named": {read(named, "bob/app"), "[bob/app by bob]"},
	} {
		if fmt.Sprint(c.got) != c.want {
			t.Errorf("%s: %v, want %s", name, c.got, c.want)
		}
	}
	// Past changes are no more than those to come; and without an account there is
	// nothing.
	again := w.stream("bob", "since="+begin)
	if got := read(again, "bob/app"); fmt.Sprint(got) != "[alice/shared by  official/nginx by  bob/app by bob]" {
		t.Errorf("from the past: %v", got)
	}
	initial := w.stream("bob", "initial=true")
	if got := read(initial, "official/nginx"); strings.Contains(fmt.Sprint(got), "secret") {
		t.Errorf("what is there: %v", got)
	}
	if a := get(t, w.url+"/v1/changes", ""); a.code != http.StatusUnauthorized {
		t.Errorf("without an account: %d", a.code)
	}
}

// TestEnds: a stream ends with the rights that it was begun with, with its token and
// with berth, and says so.
func TestEnds(t *testing.T) {
	stopping := make(chan struct{})
	streams := &Streams{}
	w := newClosedWorld(t, Options{Stopping: stopping, Streams: streams}, "alice", "bob", "carol", "dave", "erin")
	open := func(name string) *watching {
		t.Helper()
		s := w.stream(name, "")
		s.want("bookmark  0/0")
		return s
	}
	alice, bob, carol := open("alice"), open("bob"), open("carol")
	dave, erin := open("dave"), open("erin")
	w.account("alice", func(a *access.Account) { a.Read = append(a.Read, "bob/app") })
	alice.wantEnd("rights", http.StatusGone)
	w.account("bob", func(a *access.Account) { a.Tokens = nil })
	bob.wantEnd("token", http.StatusUnauthorized)
	w.edit(func(f *access.File) error { f.Public = append(f.Public, "carol/app"); return nil })
	// Everybody may read more by now, but for her whose it is.
	dave.wantEnd("rights", http.StatusGone)
	erin.wantEnd("rights", http.StatusGone)
	dave = open("dave")
	w.account("dave", func(a *access.Account) { a.Tokens[0].Expires = time.Now().Add(time.Second) })
	dave.wantEnd("token", http.StatusUnauthorized)
	w.account("erin", func(a *access.Account) { a.Quota = 7 })
	w.push("carol/app", "one", "v1", "")
	carol.want("push carol/app v1 1/0") // what changes for others changes nothing
	close(stopping)
	carol.wantEnd("shutdown", http.StatusServiceUnavailable)
	if n := streams.Ended(); n != 6 {
		t.Errorf("%d are counted as ended", n)
	}
}

// TestReadersOfNow: an administrator's stream outlives the rights of others, and says of
// each image who may pull it when it is told.
func TestReadersOfNow(t *testing.T) {
	w := newClosedWorld(t, Options{}, "alice", "bob", "root")
	w.account("bob", func(a *access.Account) { a.Read = []string{"alice/app"} })
	root := w.stream("root", "")
	root.want("bookmark  0/0")
	for _, want := range []string{"[alice bob root]", "[alice root]"} {
		w.push("alice/app", want, "v1", "alice")
		e, more := root.next()
		for more && e.Type == typeBookmark {
			e, more = root.next()
		}
		if !more {
			t.Fatal("it has ended")
		}
		if fmt.Sprint(e.Images[0].Users) != want {
			t.Errorf("users %v of %v, want %s", e.Images[0].Users, e, want)
		}
		w.account("bob", func(a *access.Account) { a.Read = nil })
		w.stream("alice", "").want("bookmark  0/0") // by then it is in force
	}
}

// TestEndsWithTheFeed: a stream whose reader is so slow that what comes next is kept
// no longer ends and says so; so does one of an index that cannot be read.
func TestEndsWithTheFeed(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		reason string
		status int
	}{
		"trimmed":    {index.ErrRevision, "gone", http.StatusGone},
		"unreadable": {errors.New("disk on fire"), "error", http.StatusInternalServerError},
	} {
		t.Run(name, func(t *testing.T) {
			broken := &brokenFeed{real: newReal(t), err: c.err}
			begin := broken.Last()
			broken.push("alice/app", "one", "v1", "")
			server := serve(t, broken, Options{})
			s := streamOf(t, server.URL+"/v1/changes?since="+begin.String())
			s.wantEnd(c.reason, c.status)
		})
	}
}

// brokenFeed fails once it has been looked at.
type brokenFeed struct {
	real
	err   error
	looks atomic.Int64
}

func (b *brokenFeed) Changes(ctx context.Context, after index.Revision, n int) ([]index.Change, error) {
	if b.looks.Add(1) > 1 {
		return nil, b.err
	}
	return b.real.Changes(ctx, after, n)
}
