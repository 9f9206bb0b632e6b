package storagetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage"
)

var collectTests = []test{
	{"swept for good", testSweptForGood}, {"swept and brought back", testBroughtBack}, {"swept again after a crash", testSweptAgain},
	{"relied on", testReliedOn}, {"links with their folders", testUnlinkBlobs}, {"missing bytes are mended from quarantine", testMendFromQuarantine},
}

func (s *stored) sweep(keep bool, digests ...digest.Digest) map[digest.Digest]int64 {
	s.t.Helper()
	sizes, err := s.Sweep(s.t.Context(), digests, keep)
	if err != nil {
		s.t.Fatal(err)
	}
	return sizes
}

// collected are the digests in the collector's quarantine.
func (s *stored) collected() (digests []digest.Digest) {
	s.t.Helper()
	err := s.Collected(s.t.Context(), func(d digest.Digest) error {
		digests = append(digests, d)
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return digests
}

func (s *stored) wantGone(d digest.Digest) {
	s.t.Helper()
	if _, err := s.Content().Stat(s.t.Context(), d); !errors.Is(err, storage.ErrNotFound) {
		s.t.Errorf("%s is still stored: %v", d, err)
	}
	// Folders take room too.
	err := s.Blobs(s.t.Context(), "", func(found digest.Digest) error {
		if found == d {
			s.t.Errorf("the folder of %s is still there", d)
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func testSweptForGood(t *testing.T, s *stored) {
	one, two, kept := s.blob("one"), s.blob("the second"), s.blob("kept")
	sizes := s.sweep(false, one, two, digest.FromString("never stored"))
	if len(sizes) != 2 || sizes[one] != 3 || sizes[two] != 10 {
		t.Errorf("%v were swept", sizes)
	}
	s.wantGone(one)
	s.wantGone(two)
	s.wantContent(kept, "kept")
	if left := s.collected(); len(left) > 0 {
		t.Errorf("%v are in quarantine", left)
	}
}

func testBroughtBack(t *testing.T, s *stored) {
	ctx, d, other := t.Context(), s.blob("wanted after all"), s.blob("never again")
	s.sweep(true, d, other)
	s.wantGone(d)
	if left := s.collected(); len(left) != 2 {
		t.Fatalf("in quarantine are %v", left)
	}
	for range 2 { // the second finds it stored
		if back, err := s.BringBack(ctx, d); err != nil || !back {
			t.Fatalf("it is not brought back: %v, %v", back, err)
		}
		s.wantContent(d, "wanted after all")
	}
	sizes, err := s.EmptyCollected(ctx, []digest.Digest{d, other})
	if err != nil || len(sizes) != 1 || sizes[other] != 11 {
		t.Errorf("emptied were %v, %v", sizes, err)
	}
	if left := s.collected(); len(left) > 0 {
		t.Errorf("in quarantine are %v", left)
	}
	for _, never := range []digest.Digest{other, "none"} {
		if back, err := s.BringBack(ctx, never); err != nil || back {
			t.Errorf("%q was brought back: %v, %v", never, back, err)
		}
	}
	s.wantContent(d, "wanted after all")
}

// testSweptAgain: a driver copies and then removes; a crash may come between, and
// the same bytes may be pushed after it.
func testSweptAgain(t *testing.T, s *stored) {
	d := s.blob("twice")
	s.sweep(true, d)
	s.blob("twice")
	if sizes := s.sweep(true, d); sizes[d] != 5 {
		t.Errorf("%v were swept", sizes)
	}
	s.wantGone(d)
	if back, err := s.BringBack(t.Context(), d); err != nil || !back {
		t.Fatalf("it is not brought back: %v, %v", back, err)
	}
	s.wantContent(d, "twice")
}

func testReliedOn(t *testing.T, s *stored) {
	ctx, d := t.Context(), digest.FromString("any")
	one, err := s.Rely(ctx, storage.GuardHead, d)
	if err != nil {
		t.Fatal(err)
	}
	pushing, push := s.BeginPush(ctx, storage.GuardPut)
	if err := push.Rely(pushing, d, d); err != nil { // nobody waits for another
		t.Fatal(err)
	}
	alone := func(want bool) func() {
		t.Helper()
		release, ok := s.Alone(storage.GuardSweep, d)
		if ok != want {
			t.Fatalf("alone: %v, want %v", ok, want)
		}
		return release
	}
	alone(false)
	one()
	alone(false)
	push.End()
	release := alone(true)
	alone(false)
	waiting, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	if _, err := s.Rely(waiting, storage.GuardMount, d); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("relied on what is going: %v", err)
	}
	got := make(chan error, 1)
	go func() {
		release, err := s.Rely(ctx, storage.GuardCommit, digest.FromString("other"), d)
		if err == nil {
			release()
		}
		got <- err
	}()
	release()
	if err := <-got; err != nil {
		t.Error(err)
	}
	alone(true)()
}

func testUnlinkBlobs(t *testing.T, s *stored) {
	one, two := s.layer("a/b", "one"), s.layer("a/b", "two")
	if err := s.UnlinkBlobs(t.Context(), "a/b", []digest.Digest{one, digest.FromString("never linked")}); err != nil {
		t.Fatal(err)
	}
	if files := s.files(repositories + "a/b/_layers"); len(files) != 1 {
		t.Errorf("left are %v", files)
	}
	names, err := s.driver.List(t.Context(), repositories+"a/b/_layers/sha256")
	if err != nil || len(names) != 1 {
		t.Errorf("left are the folders %v, %v", names, err)
	}
	s.wantContent(one, "one")
	s.wantContent(two, "two")
}

func testMendFromQuarantine(t *testing.T, s *stored) {
	d := s.layer("a/b", "needed")
	s.sweep(true, d)
	flaws, err := s.Repository("a/b").Flaws(t.Context())
	if err != nil || len(flaws) != 1 {
		t.Fatalf("flaws: %+v, %v", flaws, err)
	}
	if mended, _, err := s.Mend(t.Context(), flaws[0]); err != nil || !mended {
		t.Fatalf("mended: %v, %v", mended, err)
	}
	s.wantContent(d, "needed")
}
