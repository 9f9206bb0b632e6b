package bolt

import (
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	bbolt "go.etcd.io/bbolt"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// TestReaderForgets: what a reader keeps for the next transaction does not point
// into the file, and does not grow with what was read.
func TestReaderForgets(t *testing.T) {
	x, err := Build(filepath.Join(t.TempDir(), "catalog.db"), place1, empty)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	s := sampleOf(1)
	large := s.manifest
	large.Digest = dgst("large")
	for n := range 1000 {
		large.Blobs = append(large.Blobs, image.Blob{Digest: dgst(string(rune(n)))})
	}
	l, err := x.Acquire(t.Context(), s.repository)
	if err != nil {
		t.Fatal(err)
	}
	_, err = x.Publish(t.Context(), l, index.Update{
		Put: []image.Description{s.manifest, s.index, large}, Tag: map[string]digest.Digest{"v1": s.index.Digest, "v2": large.Digest},
	})
	if err != nil {
		t.Fatal(err)
	}
	var rd *reader
	err = x.db.View(func(tx *bbolt.Tx) error {
		s := &session{tx: tx}
		l, err := resume(s, index.Query{}, "")
		if err != nil {
			return err
		}
		if _, err := l.read(10); err != nil || len(l.entries) != 2 {
			t.Errorf("%d images: %v", len(l.entries), err)
		}
		rd = s.reader
		if len(rd.nears) == 0 || len(rd.records) == 0 {
			t.Error("the reader has read nothing that it could keep")
		}
		s.done()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if rd.session != nil || rd.cursor != nil || rd.from.b != nil || rd.dictionaries[1].value != nil {
		t.Error("the reader keeps its transaction")
	}
	for _, n := range rd.nears {
		for _, p := range append(n.manifests[:cap(n.manifests)], n.tags[:cap(n.tags)]...) {
			if p.k != nil || p.v != nil {
				t.Fatal("it keeps keys and values")
			}
		}
	}
	for _, m := range rd.records {
		if cap(m.raw) > 100 {
			t.Errorf("it keeps room for %d blobs", cap(m.raw))
		}
		for _, blob := range m.raw[:cap(m.raw)] {
			if blob.digest != nil {
				t.Fatal("it keeps digests")
			}
		}
	}
}
