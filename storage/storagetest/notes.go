package storagetest

import (
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage"
)

var noteTests = []test{{"links in flight", testLinkNotes}}

// testLinkNotes: another process finds the notes of one that did not end well, and
// of one that did only those of links that the index does not know.
func testLinkNotes(t *testing.T, s *stored) {
	ctx := t.Context()
	note := func(repository string, d digest.Digest) *storage.LinkNote {
		t.Helper()
		n, err := s.NoteLink(ctx, repository, d)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	left := func() map[string]digest.Digest {
		t.Helper()
		notes, err := s.reopened(s.driver).LeftLinks(ctx)
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
	if own, err := s.LeftLinks(ctx); err != nil || len(own) != 0 {
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
	if err := s.EndLinks(ctx); err != nil {
		t.Fatal(err)
	}
	if found := left(); len(found) != 1 || found["alice/open"] != a {
		t.Errorf("after the end left are %v", found)
	}
	next := s.reopened(s.driver)
	notes, err := next.LeftLinks(ctx)
	if err == nil {
		err = next.RemoveLinks(ctx, notes)
	}
	if err != nil {
		t.Fatal(err)
	}
	if found := left(); len(found) != 0 {
		t.Errorf("what is settled is left: %v", found)
	}
}
