package bolt

import (
	"errors"
	"math"
	"time"

	"github.com/opencontainers/go-digest"
	bbolt "go.etcd.io/bbolt"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// change is what an update of a repository has come to so far.
type change struct {
	// affected are the manifests that may have become an entry of the list, or
	// ceased to be one.
	affected map[digest.Digest]bool
	// unlisted are the images taken off the list, with the creation time that
	// they had there.
	unlisted map[digest.Digest]time.Time
	// followed counts the indexes whose place was looked for again; queued is
	// set if there are more.
	followed int
	queued   bool
	// idleSince is since when bytes have been idle whose last link goes: now, unless
	// that is set.
	idleSince *index.Uptime
	happened
	// delta is what the counts change by.
	delta struct {
		manifests, unikernels, roms, links, aliases, bytes, idle, remains int64
		// others are remains that are nobody's.
		others int64
	}
}

// change opens a repository to be written.
func (s *session) change(name string) (*repoTx, error) {
	r, err := s.open(name)
	if err != nil {
		return nil, err
	}
	r.affected, r.unlisted = make(map[digest.Digest]bool), make(map[digest.Digest]time.Time)
	r.happened = newHappened()
	if r.known.number != 0 {
		r.space, err = s.spaceOf(r.namespace())
	}
	r.setFill()
	return r, err
}

const (
	// fillInOrder is how full a page is left where keys come in order: nobody
	// comes to fill the rest.
	fillInOrder = 0.9
	// fillAlong is the same for a large repository that is read from storage: what
	// it has comes in order, and what refers to it anywhere.
	fillAlong = 0.75
	// recent is how many repositories count as new.
	recent = 64
	// large is from how many manifests on a repository is.
	large = 1000
)

// setFill says how full pages are left that are split. The keys of new
// repositories come in order, since their numbers grow; others come anywhere.
// What was best is measured.
func (r *repoTx) setFill() {
	fill := bbolt.DefaultFillPercent
	if r.known.number == 0 || uint64(r.known.number)+recent > r.at(tableNames).Sequence() {
		fill = fillInOrder
		if r.known.manifests > large {
			fill = fillAlong
		}
	}
	r.data().FillPercent = fill
}

// create makes the repository if it is not there.
func (r *repoTx) create() (err error) {
	if r.known.number != 0 {
		return nil
	}
	if r.space, err = r.spaceOf(r.namespace()); err != nil {
		return err
	}
	if r.space.number == 0 {
		if r.space.number, err = nextNumber(r.at(tableSpaces)); err != nil {
			return err
		}
		if err := r.at(tableNamespaces).Put(numbered(r.space.number, kindName), []byte(r.namespace())); err != nil {
			return err
		}
	}
	if r.known.number, err = nextNumber(r.at(tableNames)); err != nil {
		return err
	}
	r.space.repositories++
	if err := r.putSpace(); err != nil {
		return err
	}
	if err := r.at(tableNames).Put([]byte(r.repository), r.known.encode()); err != nil {
		return err
	}
	return r.data().Put(r.key(kindName), []byte(r.repository))
}

var errNumbers = errors.New("the index has given out all numbers that repositories can have: delete its file, and berth makes it again from storage")

// nextNumber is one that nobody has had.
func nextNumber(b *bbolt.Bucket) (uint32, error) {
	n, err := b.NextSequence()
	if err == nil && n > math.MaxUint32 {
		err = errNumbers
	}
	return uint32(n), err //nolint:gosec // bounded above
}

func (r *repoTx) countImage(s image.Standing, n int64) {
	if s.Kernel || s.Initrd {
		r.delta.unikernels += n
	} else {
		r.delta.roms += n
	}
}

// count writes what the counts are now, and forgets a repository and a namespace
// of which nothing is left.
func (r *repoTx) count() error {
	if r.known.number == 0 {
		return nil
	}
	before := r.known
	if r.number != 0 {
		r.known.last = r.number
	}
	images := r.delta.unikernels + r.delta.roms
	r.known.manifests += r.delta.manifests
	r.known.images += images
	r.known.links += r.delta.links
	r.known.aliases += r.delta.aliases
	r.space.images += images
	r.space.bytes += r.delta.bytes
	r.space.idle += r.delta.idle
	r.space.remains += r.delta.remains
	if err := r.countAll(before); err != nil {
		return err
	}
	if r.isEmpty() {
		return r.drop()
	}
	if r.known != before {
		if err := r.at(tableNames).Put([]byte(r.repository), r.known.encode()); err != nil {
			return err
		}
	}
	if images != 0 || r.delta.bytes != 0 || r.delta.idle != 0 || r.delta.remains != 0 {
		return r.putSpace()
	}
	return nil
}

func (r *repoTx) putSpace() error {
	return r.at(tableSpaces).Put([]byte(r.namespace()), r.space.encode())
}

// countAll counts in what all of the index holds.
func (r *repoTx) countAll(before repository) error {
	was, err := r.stats()
	if err != nil {
		return err
	}
	now := was
	now.Manifests += r.delta.manifests
	now.Unikernels += r.delta.unikernels
	now.ROMs += r.delta.roms
	now.Repositories += present(r.known.manifests) - present(before.manifests)
	now.ImageRepositories += present(r.known.images) - present(before.images)
	now.Bytes += r.delta.bytes
	now.Uncollected += r.delta.idle
	if now != was {
		if err := r.at(tableMeta).Put(keyStats, encodeStats(now)); err != nil {
			return err
		}
	}
	return r.addTo(keyRemains, r.delta.remains+r.delta.others)
}

func encodeStats(st index.Stats) []byte {
	e := newEncoder()
	for _, n := range statFields(&st) {
		e.int(*n)
	}
	return e.b
}

// isEmpty reports whether nothing is known of the repository but its name.
func (r *repoTx) isEmpty() bool {
	if r.known.manifests != 0 || r.known.links != 0 {
		return false
	}
	k, _ := r.data().Cursor().Seek(append(r.key(kindName), 0))
	return k == nil || string(k[:numberLength]) != string(r.key(kindName)[:numberLength])
}

// drop forgets a repository, and the namespace if this was its last one and
// nothing remains of it.
func (r *repoTx) drop() error {
	if err := r.at(tableNames).Delete([]byte(r.repository)); err != nil {
		return err
	}
	if err := r.data().Delete(r.key(kindName)); err != nil {
		return err
	}
	if err := r.leave(); err != nil {
		return err
	}
	r.space.repositories--
	return r.putSpaceOf(r.namespace(), r.space)
}

// putSpaceOf writes what is known of a namespace, or forgets it if nothing is left.
func (s *session) putSpaceOf(namespace string, known spaceRecord) error {
	if known.repositories > 0 || known.remains > 0 {
		return s.at(tableSpaces).Put([]byte(namespace), known.encode())
	}
	if err := s.at(tableNamespaces).Delete(numbered(known.number, kindName)); err != nil {
		return err
	}
	return s.at(tableSpaces).Delete([]byte(namespace))
}

func present(n int64) int64 {
	if n > 0 {
		return 1
	}
	return 0
}
