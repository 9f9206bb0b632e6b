package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog"
	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// holding is an index that counts what is asked of it, or written to it, at once.
type holding struct {
	index.Index
	mu        sync.Mutex
	now, most int // manifests in updates that are being published; guarded by mu, like what follows
	largest   int // of what is asked for or written at once
	put       int // manifests, in all
	failAfter int // so many publications, 0 for never
}

func (h *holding) asked(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.largest = max(h.largest, n)
}

func (h *holding) ManifestsAfter(ctx context.Context, repository string, after digest.Digest, n int) ([]digest.Digest, error) {
	some, err := h.Index.ManifestsAfter(ctx, repository, after, n)
	h.asked(len(some))
	return some, err
}

func (h *holding) LinksAfter(ctx context.Context, repository string, after digest.Digest, n int) ([]image.Blob, error) {
	some, err := h.Index.LinksAfter(ctx, repository, after, n)
	h.asked(len(some))
	return some, err
}

func (h *holding) TagsAfter(ctx context.Context, repository, after string, n int) ([]index.Tag, error) {
	some, err := h.Index.TagsAfter(ctx, repository, after, n)
	h.asked(len(some))
	return some, err
}

func (h *holding) Publish(ctx context.Context, l index.Lease, u index.Update) (index.Revision, error) {
	h.asked(len(u.Put) + len(u.Delete) + len(u.Link) + len(u.Unlink) + len(u.Tag) + len(u.Untag) + len(u.Alias) + len(u.Unalias))
	h.mu.Lock()
	if h.failAfter > 0 {
		if h.failAfter--; h.failAfter == 0 {
			h.failAfter = 1
			h.mu.Unlock()
			return index.Revision{}, errCutOff
		}
	}
	h.put += len(u.Put)
	h.now += len(u.Put)
	h.most = max(h.most, h.now)
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.now -= len(u.Put)
	}()
	return h.Index.Publish(ctx, l, u)
}

var errCutOff = errors.New("cut off")

// TestRebuildHoldsLittle: of a repository of any size no more is asked for, written
// or held at once than of a small one, and all of it is there at the end, also if
// the rebuild was cut off and is gone on with: what was done is not done again.
func TestRebuildHoldsLittle(t *testing.T) {
	const images, most = 2500, 256 // of what is asked for at once
	w := newWorld(t)
	w.LinkUntold(repository, []byte("a config"))
	for i := range images {
		d := w.Manifest(map[string]any{
			"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
			"config": map[string]any{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest.FromString("a config"), "size": 8},
			"layers": []any{}, "annotations": map[string]string{"number": fmt.Sprint(i)},
		})
		w.Arrive(repository, d)
		w.Write(fmt.Sprintf("repositories/%s/_manifests/tags/v%d/current/link", repository, i), []byte(d))
	}
	h := &holding{Index: w.Index.Index, failAfter: 20}
	w.Index.Index = h
	w.Index.FailAll("State")
	if err := w.Rebuild(t.Context(), func(catalog.Progress) {}); !errors.Is(err, errCutOff) {
		t.Fatalf("a rebuild that is cut off: %v", err)
	}
	before := h.put
	if before == 0 || before >= images {
		t.Fatalf("%d manifests were published before it was cut off", before)
	}
	h.failAfter = 0
	var last catalog.Progress
	w.must(w.Rebuild(t.Context(), func(p catalog.Progress) { last = p }))
	if h.put != images {
		t.Errorf("%d manifests were published, %d of them before it was cut off, want %d in all", h.put, before, images)
	}
	if h.largest > most {
		t.Errorf("%d of the repository were asked for or written at once", h.largest)
	}
	if h.most > 16*64 {
		t.Errorf("%d manifests were held at once", h.most)
	}
	if last.Manifests != images || last.Repositories != 1 || last.Found != 1 {
		t.Errorf("the last progress is %+v", last)
	}
	w.Index.Fail(nil)
	state, err := w.Index.State(t.Context(), repository)
	w.must(err)
	if len(state.Manifests) != images || len(state.Tags) != images || len(state.Links) != 1 {
		t.Errorf("%d manifests, %d tags and %d links", len(state.Manifests), len(state.Tags), len(state.Links))
	}
	w.must(w.Remake(t.Context(), repository))
	again, err := w.Index.State(t.Context(), repository)
	w.must(err)
	if h.largest > most || !maps.Equal(state.Manifests, again.Manifests) || !maps.Equal(state.Tags, again.Tags) {
		t.Errorf("read anew it has %d manifests, by %d at once", len(again.Manifests), h.largest)
	}
}
