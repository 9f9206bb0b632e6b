package catalog

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
)

// An index has one writer for everybody, so what one write transaction does is
// what others wait for. A change that does more, because hundreds of manifests
// refer to a blob that came, or an index goes with thousands of manifests, is
// published in several. The first has all but the rest of the descriptions, and
// only the last ends the change, so that a crash between two of them leaves it to
// be completed.

// What one write transaction does at most, roughly, unless one manifest alone
// is more: a manifest has up to [image.MaxDescriptors] layers or children.
const (
	maxKeys  = 4096      // that are written or removed
	maxBytes = 512 << 10 // of descriptions, each read and written
)

// maxParents is how many indexes of a repository may share a child: the place of
// each in the lists is looked at when the child comes or goes.
const maxParents = 1000

// work is what an update makes an index do.
type work struct{ keys, bytes int }

func (w work) plus(other work) work { return work{w.keys + other.keys, w.bytes + other.bytes} }

func (w work) tooMuch() bool { return w.keys > maxKeys || w.bytes > maxBytes }

// What an index has of every manifest, roughly: a description, a digest, a UUID,
// its places in the lists, and counters.
const (
	manifestKeys  = 12
	manifestBytes = 1 << 10
	digestBytes   = 80 // as JSON
)

// workOf is roughly what a description takes in the index.
func workOf(d image.Description) work {
	w := work{
		keys:  manifestKeys + 2*len(d.Children) + 2*len(d.Blobs), // each is referred to, and listed or counted
		bytes: manifestBytes + digestBytes*(len(d.Children)+2*len(d.Blobs)),
	}
	for name, value := range d.Annotations {
		w.bytes += len(name) + len(value)
	}
	if d.Image == nil {
		return w
	}
	for _, p := range d.Image.Platforms {
		w.bytes += manifestBytes
		for _, arg := range p.Args {
			w.bytes += len(arg)
		}
	}
	return w
}

// workOfBytes is that of a manifest of which only its size in bytes is known.
func workOfBytes(size int64) work {
	const descriptor = 100 // with a digest, a size and a media type
	n := min(int(size/descriptor), image.MaxDescriptors)
	return work{manifestKeys + 2*n, manifestBytes + digestBytes*n}
}

// removals are the updates that take tags and manifests off the index: one, if
// that is not too much. Else the tags go first, so that nobody comes upon an
// index whose manifests are going, and then what is inside an index before it:
// by itself it would be listed.
func (t *Tx) removals(ctx context.Context, intent storage.Intent) ([]index.Update, error) {
	all := updateOf(storage.Intent{Untag: intent.Untag, Delete: intent.Delete})
	var size work
	sizes := make([]work, len(all.Delete))
	for i, d := range all.Delete {
		if len(all.Delete) > 1 {
			info, err := t.catalog.store.Content().Stat(ctx, d)
			if err != nil && !errors.Is(err, storage.ErrNotFound) {
				return nil, err
			}
			sizes[i] = workOfBytes(info.Size)
		}
		size = size.plus(sizes[i])
	}
	size.keys += 2 * (len(all.Untag) + len(all.Unalias))
	orphans, err := t.orphansOf(ctx, all.Delete)
	if err != nil {
		return nil, err
	}
	if size.keys += orphanKeys * len(orphans); !size.tooMuch() {
		all.Orphan = orphans
		return []index.Update{all}, nil
	}
	var updates []index.Update
	for chunk := range slices.Chunk(all.Untag, maxKeys/2) {
		updates = append(updates, index.Update{Untag: chunk})
	}
	for chunk := range slices.Chunk(all.Unalias, maxKeys/2) {
		updates = append(updates, index.Update{Unalias: chunk})
	}
	next, size := index.Update{}, work{}
	for i, d := range slices.Backward(all.Delete) {
		if len(next.Delete) > 0 && size.plus(sizes[i]).tooMuch() {
			updates = append(updates, next)
			next, size = index.Update{}, work{}
		}
		next.Delete = append(next.Delete, d)
		size = size.plus(sizes[i])
	}
	if len(next.Delete) > 0 {
		updates = append(updates, next)
	}
	for chunk := range slices.Chunk(orphans, maxKeys/orphanKeys) {
		updates = append(updates, index.Update{Orphan: chunk})
	}
	return updates, nil
}

// orphanKeys is what an index writes of a manifest that is left behind.
const orphanKeys = 2

// orphansOf are the manifests that have one of those as their subject which are
// about to go: they live as long as it does.
func (t *Tx) orphansOf(ctx context.Context, going []digest.Digest) (orphans []digest.Digest, err error) {
	for _, d := range going {
		for r, err := range index.ReferrersOf(ctx, t.catalog, t.lease.Repository, d) {
			if err != nil {
				return nil, err
			}
			orphans = append(orphans, r.Digest)
		}
	}
	return orphans, nil
}

// fits refuses an index that refers to a manifest to which as many others refer
// as may. One that is there already adds nothing.
func (t *Tx) fits(ctx context.Context, d digest.Digest, m image.Manifest) error {
	children := m.Parsed.Manifests
	if len(children) == 0 {
		return nil
	}
	if _, err := t.catalog.Canonical(ctx, t.lease.Repository, d); !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	checked := make(map[digest.Digest]bool, len(children))
	for _, child := range children {
		if checked[child.Digest] || child.Digest.Validate() != nil {
			continue
		}
		checked[child.Digest] = true
		parents, err := t.catalog.index.Parents(ctx, t.lease.Repository, child.Digest)
		if err != nil {
			return err
		}
		if len(parents) >= maxParents {
			return &storage.Error{Code: storage.Invalid, Message: strconv.Itoa(maxParents) +
				" indexes of this repository refer to " + child.Digest.String() + " already, which is as many as may; delete some, or use another repository"}
		}
	}
	return nil
}
