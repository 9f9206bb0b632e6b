package storagetest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage"
)

var completeTests = []test{
	{"interrupted", testInterrupted}, {"never came", testNeverCame}, {"unfinished tag", testUnfinishedTag},
	{"upload", testRemoveUpload},
}

// intended is a storage in which a manifest has just been stored, and a change
// that does all that a change can do: another name of the manifest, tags that
// are new, that move and that go, manifests that go by each of their names, and
// what is not there at all.
func intended(s *stored) storage.Intent {
	s.t.Helper()
	put, gone := s.manifest("r", "put"), s.manifest("r", "gone")
	goneAs := digest.SHA512.FromString("gone")
	s.put(manifestLink("r", goneAs), gone.String())
	s.tag("r", "moves", gone)
	s.tag("r", "goes", gone)
	s.tag("r", "stays", s.manifest("r", "stays"))
	s.tag("elsewhere", "goes", s.manifest("elsewhere", "gone"))
	return storage.Intent{
		Repository: "r", Put: put, As: digest.SHA512.FromString("put"), Tags: []string{"new", "moves"},
		Untag: []string{"goes", "absent"}, Delete: []digest.Digest{goneAs, gone, digest.FromString("absent")},
		Unlink: []digest.Digest{s.layer("r", "unlinked"), digest.FromString("absent")},
	}
}

// wantDone wants the change of [intended] to have happened.
func (s *stored) wantDone(i storage.Intent) {
	s.t.Helper()
	stays := digest.FromString("stays")
	s.wantTags("r", map[string]digest.Digest{"new": i.As, "moves": i.As, "stays": stays})
	s.wantManifests("r", i.Put, stays)
	_, aliases, err := s.Repository("r").Manifests(s.t.Context())
	if err != nil || len(aliases) != 1 || aliases[i.As] != i.Put {
		s.t.Errorf("aliases: got %v, %v", aliases, err)
	}
	_, err = s.Repository("r").Size(s.t.Context(), i.Unlink[0])
	s.wantError("an unlinked blob", err, storage.ErrNotFound)
	s.wantTags("elsewhere", map[string]digest.Digest{"goes": digest.FromString("gone")})
	s.wantManifests("elsewhere", digest.FromString("gone"))
}

var errCut = errors.New("the power failed")

// cut is a driver that stops at a write, before it is done or after, and never
// works again.
type cut struct {
	storagedriver.StorageDriver
	left int  // writes that still work
	late bool // the last one is done, and only its answer is lost
	dead bool
}

func (c *cut) write(op func() error) error {
	switch {
	case c.dead:
		return errCut
	case c.left > 0:
		c.left--
		return op()
	}
	c.dead = true
	if c.late {
		_ = op() // whatever it says, nobody hears it
	}
	return errCut
}

func (c *cut) PutContent(ctx context.Context, path string, content []byte) error {
	return c.write(func() error { return c.StorageDriver.PutContent(ctx, path, content) })
}

func (c *cut) Move(ctx context.Context, from, to string) error {
	return c.write(func() error { return c.StorageDriver.Move(ctx, from, to) })
}

func (c *cut) Delete(ctx context.Context, path string) error {
	return c.write(func() error { return c.StorageDriver.Delete(ctx, path) })
}

// testInterrupted completes a change that was cut at each of its writes, before
// it was done and after, and wants the same as of one that nothing disturbed.
func testInterrupted(t *testing.T, s *stored) {
	i := intended(s)
	before := s.files(top)
	const many = 1000
	counted := &cut{StorageDriver: s.driver, left: many}
	if err := s.reopened(counted).Complete(t.Context(), i); err != nil {
		t.Fatal(err)
	}
	s.wantDone(i)
	want, writes := s.files(top), many-counted.left
	if writes < 5 {
		t.Fatalf("only %d writes: there is nothing to cut", writes)
	}
	// What is complete stays as it is.
	if err := s.Complete(t.Context(), i); err != nil || len(changed(want, s.files(top))) != 0 {
		t.Errorf("completing again: %v, and these differ: %v", err, changed(want, s.files(top)))
	}
	for n := range writes {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprintf("write %d, late %t", n, late), func(t *testing.T) {
				t.Parallel()
				s := newStored(t, s.open)
				if got := intended(s); fmt.Sprint(got) != fmt.Sprint(i) || len(changed(before, s.files(top))) != 0 {
					t.Fatal("two storages do not begin the same")
				}
				err := s.reopened(&cut{StorageDriver: s.driver, left: n, late: late}).Complete(t.Context(), i)
				if !errors.Is(err, errCut) {
					t.Fatalf("it was not cut: %v", err)
				}
				if err := s.Complete(t.Context(), i); err != nil {
					t.Fatal(err)
				}
				s.wantDone(i)
				if got := changed(want, s.files(top)); len(got) != 0 {
					t.Errorf("these differ: %v", got)
				}
			})
		}
	}
}

// testNeverCame completes a change whose manifest never arrived: it does not
// happen.
func testNeverCame(t *testing.T, s *stored) {
	s.tag("r", "moves", s.manifest("r", "old"))
	never := s.blob("never linked")
	before := s.files(top)
	err := s.Complete(t.Context(), storage.Intent{Repository: "r", Put: never, As: digest.SHA512.FromString("never linked"), Tags: []string{"moves", "new"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := changed(before, s.files(top)); len(got) != 0 {
		t.Errorf("these changed: %v", got)
	}
}

// testUnfinishedTag has a tag that was cut in two, which is not listed, which
// reading leaves alone, and which its change completes.
func testUnfinishedTag(t *testing.T, s *stored) {
	d := s.manifest("r", "manifest")
	s.tag("r", "whole", d)
	s.put(tagIndex("r", "half", d), d.String())
	before := s.files(top)
	for range 2 {
		s.wantTags("r", map[string]digest.Digest{"whole": d})
	}
	if got := changed(before, s.files(top)); len(got) != 0 {
		t.Errorf("reading tags changed %v", got)
	}
	if err := s.Complete(t.Context(), storage.Intent{Repository: "r", Put: d, Tags: []string{"half"}}); err != nil {
		t.Fatal(err)
	}
	s.wantTags("r", map[string]digest.Digest{"whole": d, "half": d})
}

func testRemoveUpload(t *testing.T, s *stored) {
	folder := repositories + "a/_uploads/"
	const id, other = "01234567-89ab-cdef-0123-456789abcdef", "01234567-89ab-cdef-0123-456789abcde"
	for _, upload := range []string{id, other} {
		s.put(folder+upload+"/startedat", "now")
		s.put(folder+upload+"/hashstates/sha256/0", "")
		s.write(folder+upload+"/data", false, []string{"data"}, commit)
	}
	l := s.layer("a", "layer")
	want := s.files(folder + id)
	for range 2 {
		if err := s.RemoveUpload(t.Context(), "a", other); err != nil {
			t.Fatal(err)
		}
		if got := changed(want, s.files(repositories+"a/_uploads")); len(got) != 0 || len(want) != 3 {
			t.Errorf("left are others than %v: %v", want, got)
		}
	}
	if size, err := s.Repository("a").Size(t.Context(), l); err != nil || size != 5 {
		t.Errorf("a blob beside it: %d, %v", size, err)
	}
	if err := s.RemoveUpload(t.Context(), "nonesuch", id); err != nil {
		t.Errorf("of a repository that is not there: %v", err)
	}
}
