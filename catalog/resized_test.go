package catalog_test

import (
	"context"
	"testing"

	"github.com/opencontainers/go-digest"
)

// TestResizedBlobComesAgain links a blob again whose stored bytes have become
// others meanwhile: the index does not believe their size, which would have them
// served as if they were the blob's.
func TestResizedBlobComesAgain(t *testing.T) {
	w := newWorld(t)
	blob := []byte("a blob of some length")
	w.must(w.Upload(repository, blob))
	d := digest.FromBytes(blob)
	w.Write("blobs/sha256/"+d.Encoded()[:2]+"/"+d.Encoded()+"/data", []byte("cut off"))
	// As a push of the same blob by another client: what is stored is not looked at.
	again := func(context.Context) (digest.Digest, error) { return d, nil }
	w.must(w.Link(t.Context(), repository, d, "", again))
	if size, linked, err := w.Linked(t.Context(), repository, d); err != nil || linked {
		t.Errorf("other bytes are stored, and the blob is there: %d bytes, %t, %v", size, linked, err)
	}
	if !w.Store.Quarantined(d) {
		t.Error("the bytes are not in quarantine")
	}
	// With its own bytes it is back.
	w.must(w.Upload(repository, blob))
	if size, linked, err := w.Linked(t.Context(), repository, d); err != nil || !linked || size != int64(len(blob)) {
		t.Errorf("pushed again it is of %d bytes, %t, %v", size, linked, err)
	}
}
