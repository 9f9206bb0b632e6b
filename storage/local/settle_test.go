package local

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// lag is how long is waited for what must not happen.
const lag = 50 * time.Millisecond

// never wants nothing to come.
func never[T any](t *testing.T, what string, from <-chan T) {
	t.Helper()
	select {
	case <-from:
		t.Fatal(what)
	case <-time.After(lag):
	}
}

// TestNobodySeesWhatMayGo checks that who asks for something that is not durable
// yet sees what was there before, and that who writes it waits: the second of two
// clients that push the same blob is otherwise told that it is there.
func TestNobodySeesWhatMayGo(t *testing.T) {
	eachHeld(t, func(t *testing.T, h *held, d *Driver) {
		ctx := context.Background()
		for name, read := range map[string]func() error{
			"Stat":       func() error { _, err := d.Stat(ctx, "/docker/new/data"); return err },
			"GetContent": func() error { _, err := d.GetContent(ctx, "/docker/new/data"); return err },
			"PutContent": func() error { return d.PutContent(ctx, "/docker/new/data", []byte("new")) },
		} {
			put(t, d, "/repositories/a/_uploads/1/data", "new")
			waiting, release := h.hold()
			first, second := make(chan error, 1), make(chan error, 1)
			go func() { first <- d.Move(ctx, "/repositories/a/_uploads/1/data", "/docker/new/data") }()
			<-waiting
			if name == "PutContent" {
				go func() { second <- read() }()
				never(t, name+" is answered before what was there is durable", second)
			} else if err := read(); !isMissing(err) {
				t.Errorf("%s sees what is not durable: %v", name, err)
			}
			release()
			if err := <-first; err != nil {
				t.Fatal(err)
			}
			if name != "PutContent" {
				second <- read()
			}
			if err := <-second; err != nil {
				t.Fatal(err)
			}
			waiting, release = h.hold()
			go func() { first <- d.Delete(ctx, "/docker/new") }()
			<-waiting
			if name == "PutContent" {
				go func() { second <- read() }()
				never(t, name+" is answered before what was there is gone for good", second)
			} else if err := read(); err != nil {
				t.Errorf("%s no longer sees what is not gone for good: %v", name, err)
			}
			release()
			if err := <-first; err != nil {
				t.Fatal(err)
			}
			if name == "PutContent" {
				if err := <-second; err != nil {
					t.Error(err)
				}
			} else if err := read(); !isMissing(err) {
				t.Errorf("%s of what is gone: %v", name, err)
			}
			_ = d.Delete(ctx, "/docker/new")
		}
		// Nobody waits for what others write.
		waiting, release := h.hold()
		first := make(chan error, 1)
		go func() { first <- d.PutContent(ctx, "/docker/new/data", []byte("new")) }()
		<-waiting
		wantContent(t, d, "/docker/there", "there")
		if _, err := d.Stat(ctx, "/docker/other"); !isMissing(err) {
			t.Error(err)
		}
		// And nobody for longer than it wants.
		ending, end := context.WithTimeout(ctx, lag)
		defer end()
		if err := d.PutContent(ending, "/docker/new/data", nil); !errors.Is(detail(err), context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		release()
		if err := <-first; err != nil {
			t.Error(err)
		}
	})
}

// TestFailedSyncFailsAll checks that all who waited for a sync that failed are
// answered with an error, and that nothing of it is left in view.
func TestFailedSyncFailsAll(t *testing.T) {
	eachHeld(t, func(t *testing.T, h *held, d *Driver) {
		ctx := context.Background()
		waiting, release := h.hold()
		first, answers := make(chan error, 1), make(chan error, 3)
		go func() { first <- d.PutContent(ctx, "/docker/first/link", []byte("first")) }()
		<-waiting
		all := []string{"/docker/a", "/docker/b", "/docker/c"}
		for _, p := range all {
			go func() { answers <- d.PutContent(ctx, p+"/link", []byte("x")) }()
		}
		queued(t, d, len(all))
		h.failing(1)
		release()
		if err := <-first; err != nil {
			t.Error(err)
		}
		for range all {
			if err := <-answers; !errors.Is(detail(err), syscall.EIO) {
				t.Errorf("got %v, want that the disk failed", err)
			}
		}
		for _, p := range all {
			if _, err := d.Stat(ctx, p); !isMissing(err) {
				t.Errorf("%s is left: %v", p, err)
			}
			survives(t, h.memory, p+"/link", "")
		}
		put(t, d, "/docker/a/link", "a")
		survives(t, h.memory, "/docker/first/link", "first")
		survives(t, h.memory, "/docker/a/link", "a")
		survives(t, h.memory, "/docker/b/link", "")
	})
}

// restart opens and closes a driver on what a crash left.
func restart(t *testing.T, left *memory) {
	t.Helper()
	d, err := open(left, Options{segment: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// survives wants a crash to leave content at a path, "" for nothing.
func survives(t *testing.T, m *memory, p, want string) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	left := m.crashed(nil)
	restart(t, left)
	got := ""
	if n, err := left.find(p[1:]); err == nil {
		got = string(n.data)
	}
	if got != want {
		t.Errorf("%s: after a crash it is %q, want %q", p, got, want)
	}
}

// TestWrittenAgain checks that after a sync that failed, a retry writes again:
// it is not answered because there is the same already, nor because there is
// nothing left to delete, nor with a folder whose own entry was lost.
func TestWrittenAgain(t *testing.T) {
	eachHeld(t, func(t *testing.T, h *held, d *Driver) {
		ctx := context.Background()
		afterFailure := func(what string, do func() error) {
			t.Helper()
			// The first sync is that of the content, if there is any.
			h.memory.mu.Lock()
			h.failSync = nil
			h.memory.mu.Unlock()
			waiting, release := h.hold()
			answer := make(chan error, 1)
			go func() { answer <- do() }()
			<-waiting
			h.failing(0)
			release()
			if err := <-answer; !errors.Is(detail(err), syscall.EIO) {
				t.Fatalf("%s: got %v, want that the disk failed", what, err)
			}
			if err := do(); err != nil && !isMissing(err) {
				t.Fatalf("%s, again: %v", what, err)
			}
		}
		put(t, d, "/docker/link", "old")
		afterFailure("replace", func() error { return d.PutContent(ctx, "/docker/link", []byte("new")) })
		survives(t, h.memory, "/docker/link", "new")

		afterFailure("create", func() error { return d.PutContent(ctx, "/docker/deep/er/link", []byte("new")) })
		survives(t, h.memory, "/docker/deep/er/link", "new")

		afterFailure("delete", func() error { return d.Delete(ctx, "/docker/link") })
		survives(t, h.memory, "/docker/link", "")

		put(t, d, "/docker/tags/v1/current/link", "x")
		afterFailure("delete a tree", func() error { return d.Delete(ctx, "/docker/tags/v1") })
		survives(t, h.memory, "/docker/tags/v1/current/link", "")

		// An upload has created the folders; a failed link leaves them, and they
		// have to be written again although they are there.
		put(t, d, "/docker/r/app/_uploads/1/startedat", "now")
		afterFailure("in folders of an upload", func() error { return d.PutContent(ctx, "/docker/r/app/_layers/link", []byte("x")) })
		survives(t, h.memory, "/docker/r/app/_layers/link", "x")
		wantContent(t, d, "/docker/r/app/_uploads/1/startedat", "now")

		put(t, d, "/docker/from", "moved")
		put(t, d, "/docker/to", "replaced")
		afterFailure("move", func() error {
			put(t, d, "/docker/r/app/_uploads/1/data", "moved")
			return d.Move(ctx, "/docker/r/app/_uploads/1/data", "/docker/to")
		})
		survives(t, h.memory, "/docker/to", "moved")
	})
}

// TestMoveBack checks that what was promised where it was is not lost when it
// could not be moved.
func TestMoveBack(t *testing.T) {
	eachHeld(t, func(t *testing.T, h *held, d *Driver) {
		put(t, d, "/docker/from", "content")
		waiting, release := h.hold()
		answer := make(chan error, 1)
		go func() { answer <- d.Move(context.Background(), "/docker/from", "/docker/new/to") }()
		<-waiting
		h.failing(0)
		release()
		if err := <-answer; err == nil {
			t.Fatal("the sync did not fail")
		}
		wantContent(t, d, "/docker/from", "content")
		survives(t, h.memory, "/docker/from", "content")
	})
}

// TestFailedMoveRemoves checks that an upload that could not be moved is gone: it
// would be written to in place, while its entry as a blob may be on disk.
func TestFailedMoveRemoves(t *testing.T) {
	eachHeld(t, func(t *testing.T, h *held, d *Driver) {
		const upload = "/docker/a/_uploads/1/data"
		put(t, d, upload, "content")
		waiting, release := h.hold()
		answer := make(chan error, 1)
		go func() { answer <- d.Move(context.Background(), upload, "/docker/new/to") }()
		<-waiting
		h.failing(0)
		release()
		if err := <-answer; err == nil {
			t.Fatal("the sync did not fail")
		}
		for _, p := range []string{upload, "/docker/new/to"} {
			if _, err := d.Stat(context.Background(), p); !isMissing(err) {
				t.Errorf("%s is left: %v", p, err)
			}
		}
	})
}

// TestUploadLostInPart checks that bytes of an upload that could not be written
// are never vouched for by a later sync.
func TestUploadLostInPart(t *testing.T) {
	kinds(t, func(t *testing.T, newMemory func() *memory) {
		h := &held{memory: newMemory()}
		d := openHeld(t, h, 1)
		ctx := context.Background()
		const folder = "/docker/a/_uploads/1"
		w, err := d.Writer(ctx, folder+"/data", false)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("first")); err != nil {
			t.Fatal(err)
		}
		h.failing(0)
		if err := d.PutContent(ctx, folder+"/hashstates/sha256/5", []byte("state")); !errors.Is(detail(err), syscall.EIO) {
			t.Fatalf("the state of bytes that are lost is written: %v", err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if w, err = d.Writer(ctx, folder+"/data", true); err != nil || w.Size() != 0 {
			t.Fatalf("the upload goes on after %d bytes that are lost, %v", w.Size(), err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestSyncsShared checks that those who wait at the same time share a sync, and
// that what is unchanged needs none.
func TestSyncsShared(t *testing.T) {
	h := &held{memory: newMemory()}
	d := openHeld(t, h, 0)
	const many = 50
	waiting, release := h.hold()
	var all sync.WaitGroup
	write := func(i int) {
		all.Go(func() {
			link := layerLink("a", digest.FromString(string(rune('a'+i))))
			if err := d.PutContent(context.Background(), link, []byte("x")); err != nil {
				t.Error(err)
			}
		})
	}
	write(0)
	<-waiting // its sync has begun, so that nobody else has a part in it
	for i := range many - 1 {
		write(i + 1)
	}
	queued(t, d, many-1)
	h.memory.mu.Lock()
	before := h.syncs
	h.memory.mu.Unlock()
	release()
	all.Wait()
	if got := h.syncs - before; got != 2 {
		t.Errorf("%d who wait cost %d syncs, want 2", many, got)
	}
	before = h.syncs
	put(t, d, "/docker/there", "there")
	put(t, d, "/docker/a/_uploads/1/startedat", "now")
	if got := h.syncs - before; got != 0 {
		t.Errorf("what is there already, and an upload's state, cost %d syncs", got)
	}
}
