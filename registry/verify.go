package registry

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/manifest/manifestlist"
	"github.com/distribution/distribution/v3/manifest/ocischema"
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage"
)

// verify refuses a manifest whose config or layers are not stored, and names
// them ("Pushing Manifests"). Two things may be missing: what an index refers
// to, which may come later or never (a sparse index), and layers that are not
// distributed, which clients fetch from somewhere else. distribution's own
// check knows neither, and fails on an address that it does not like. m says
// what the client pushes it as, document what is in it.
//
// The push relies on the blobs from before they are looked for: they stay. One
// that was collected a while ago, and that the namespace had last, is brought back.
func (r *Registry) verify(ctx context.Context, stores *storage.Push, m distribution.Manifest, in *push) error {
	document := in.document
	switch m.(type) {
	case *manifestlist.DeserializedManifestList, *ocischema.DeserializedImageIndex:
		return nil
	}
	if err := stores.Rely(ctx, document.BlobDigests()...); err != nil {
		return err
	}
	checked := make(map[string]bool)
	var missing []digest.Digest
	for _, d := range document.Blobs() {
		if checked[d.Digest.String()] || len(missing) == maxErrors {
			continue
		}
		checked[d.Digest.String()] = true
		if err := d.Digest.Validate(); err != nil {
			return &problems{problem{http.StatusBadRequest, "DIGEST_INVALID", "a digest in the manifest is not valid"}, []digest.Digest{d.Digest}}
		}
		if r.sparse || strings.Contains(d.MediaType, "nondistributable") || strings.Contains(d.MediaType, ".foreign.") {
			continue
		}
		_, err := in.tx.Size(ctx, d.Digest)
		if errors.Is(err, storage.ErrNotFound) && !errors.Is(err, storage.ErrDamaged) {
			var back bool
			if back, err = in.tx.BringBack(ctx, d.Digest); err == nil && !back {
				err = storage.ErrNotFound
			}
		}
		if errors.Is(err, storage.ErrNotFound) {
			missing = append(missing, d.Digest)
			continue
		}
		if err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		return &problems{problem{http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", "the manifest refers to a blob that the repository does not have"}, missing}
	}
	return nil
}
