package bolt

import (
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage"
)

// What a namespace no longer links or refers to stays stored until it is
// collected: it is among the remains of the namespace that had it last. An index
// that is built anew does not know whose it was.

// leaveBlob notes that something of so many bytes is held again, or no longer, as
// a blob. Only what has the canonical digest has bytes of its own.
func (r *repoTx) leaveBlob(d digest.Digest, held bool, size int64) error {
	if held {
		return r.setRemains(d, 0)
	}
	if d.Algorithm() != digest.Canonical {
		return nil
	}
	if held, err := r.hasManifest(d); err != nil || held {
		return err
	}
	return r.setRemains(d, storage.Counted(size))
}

// leaveManifest notes that a manifest has left the repository.
func (r *repoTx) leaveManifest(d digest.Digest, size int64) error {
	u, err := r.useOf(r.space.number, d)
	if err != nil || u.there() {
		return err
	}
	if held, err := r.hasManifest(d); err != nil || held {
		return err
	}
	return r.setRemains(d, storage.Counted(size))
}

// hasManifest reports whether a repository of the namespace holds a manifest.
func (r *repoTx) hasManifest(d digest.Digest) (bool, error) {
	m := namesIn(r.at(tableDigests), string(short(d)), []string{r.namespace()}, "")
	for s := m.least(); s != nil; s = m.least() {
		other, err := r.open(string(s.k[len(short(d)):]))
		if err != nil || other.has(d) {
			return err == nil, err
		}
		s.advance()
	}
	return false, nil
}

// setRemains sets what is left of something, 0 for nothing.
func (r *repoTx) setRemains(d digest.Digest, bytes int64) error {
	b, k := r.at(tableNamespaces), spaceKey(r.space.number, kindGone, d)
	value := b.Get(k)
	if value == nil && bytes == 0 {
		return nil
	}
	var before int64
	if value != nil {
		old := newDecoder(value)
		if before = old.size(); old.err != nil {
			return old.err
		}
	}
	r.delta.remains += bytes - before
	if bytes == 0 {
		return b.Delete(k)
	}
	return b.Put(k, encodeSize(bytes))
}

func encodeSize(n int64) []byte {
	e := newEncoder()
	e.uint(uint64(max(n, 0)))
	return e.b
}

// remains is what is left in all namespaces.
func (s *session) remains() (int64, error) {
	value := s.at(tableMeta).Get(keyRemains)
	if value == nil {
		return 0, nil
	}
	d := newDecoder(value)
	return d.size(), d.err
}

// countRemains counts what is left in all namespaces.
func (r *repoTx) countRemains() error {
	if r.delta.remains == 0 {
		return nil
	}
	before, err := r.remains()
	if err != nil {
		return err
	}
	return r.at(tableMeta).Put(keyRemains, encodeSize(before+r.delta.remains))
}
