package storagetest

import (
	"context"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage"
)

var noteTests = []test{{"links in flight", testLinkNotes}, {"puts in flight", testChangeNotes}}

// testLinkNotes: another process finds the notes of one that did not end well, and
// of one that did only those of links that the index does not know.
func testLinkNotes(t *testing.T, s *stored) {
	ctx := t.Context()
	note := func(repository string, d digest.Digest) *storage.Note {
		t.Helper()
		n, err := s.NoteLink(ctx, repository, d)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	left := func() map[string]digest.Digest {
		t.Helper()
		notes, err := s.reopened(s.driver).LeftNotes(ctx)
		if err != nil {
			t.Fatal(err)
		}
		found := make(map[string]digest.Digest)
		for _, n := range notes {
			found[n.Repository] = n.Digest
		}
		return found
	}
	a, b := digest.FromString("a"), digest.FromString("b")
	note("alice/open", a)
	ended := note("alice/ended", b)
	if own, err := s.LeftNotes(ctx); err != nil || len(own) != 0 {
		t.Fatalf("left by who is there: %v, %v", own, err)
	}
	if found := left(); len(found) != 2 || found["alice/open"] != a || found["alice/ended"] != b {
		t.Fatalf("left are %v", found)
	}
	ended.Forget()
	note("alice/later", b).Forget()
	if found := left(); len(found) != 2 || found["alice/open"] != a || found["alice/later"] != b {
		t.Errorf("the file of a note is not used again: left are %v", found)
	}
	s.put("/berth/linking/readme.txt", "nobody's")
	s.put("/berth/linking/.folder/file", "nobody's")
	if err := s.EndNotes(ctx); err != nil {
		t.Fatal(err)
	}
	if found := left(); len(found) != 1 || found["alice/open"] != a {
		t.Errorf("after the end left are %v", found)
	}
	next := s.reopened(s.driver)
	notes, err := next.LeftNotes(ctx)
	if err == nil {
		err = next.RemoveNotes(ctx, notes)
	}
	if err != nil {
		t.Fatal(err)
	}
	if found := left(); len(found) != 0 {
		t.Errorf("what is settled is left: %v", found)
	}
}

// testChangeNotes: another process finds what a put was about, where changes are
// made at once; elsewhere there is no such note.
func testChangeNotes(t *testing.T, s *stored) {
	ctx := t.Context()
	put := storage.Intent{Repository: "alice/app", Put: digest.FromString("a"), Tags: []string{"v1"}, By: "alice"}
	n := s.ChangeNote(put)
	if n == nil {
		if s.WritesAtOnce() {
			t.Fatal("no note is made")
		}
		return
	}
	err := s.Together(ctx, func(ctx context.Context) error { return s.WriteNote(ctx, n) })
	if err != nil {
		t.Fatal(err)
	}
	left, err := s.reopened(s.driver).LeftNotes(ctx)
	if err != nil || len(left) != 1 || left[0].Repository != put.Repository || left[0].Change == nil || !reflect.DeepEqual(*left[0].Change, put) {
		t.Fatalf("left are %+v, %v", left, err)
	}
	for _, foreign := range []storage.Intent{
		{Repository: "alice/app", Put: "sha256:short"}, {Repository: "../app", Put: put.Put},
		{Repository: "alice/app", Put: put.Put, Tags: []string{"../../v1"}}, {Repository: "alice/app", Put: put.Put, As: "x"},
	} {
		err := s.WriteNote(ctx, s.ChangeNote(foreign))
		if err != nil {
			t.Fatal(err)
		}
	}
	if left, err = s.reopened(s.driver).LeftNotes(ctx); err != nil || len(left) != 1 {
		t.Errorf("left are %+v, %v", left, err)
	}
	put.Tags = make([]string, 100)
	for i := range put.Tags {
		put.Tags[i] = strings.Repeat("x", 100)
	}
	if s.ChangeNote(put) != nil {
		t.Error("a note is longer than all may be")
	}
}
