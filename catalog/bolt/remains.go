package bolt

import (
	"encoding/binary"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
)

// What a namespace no longer links or refers to stays stored until it is
// collected: it is among the remains of the namespace that had it last. An index
// that is built anew does not know whose it was; what the collector then finds
// is nobody's.

// nobody is the number of no namespace.
const nobody uint32 = 0

// remnant is what is left of something that a namespace had.
type remnant struct {
	bytes int64 // what it counts
	since index.Uptime
	kept  bool // in quarantine since then
}

func (m remnant) kind() idleKind {
	if m.kept {
		return idleKept
	}
	return idleBytes
}

const remnantKept = 1

func (m remnant) encode() []byte {
	e := newEncoder()
	e.uint(uint64(max(m.bytes, 0)))
	e.uint(uint64(max(m.since, 0)))
	if m.kept {
		e.uint(remnantKept)
	}
	return e.b
}

func decodeRemnant(value []byte) (remnant, error) {
	d := newDecoder(value)
	m := remnant{bytes: d.size(), since: index.Uptime(d.size()), kept: d.uint()&remnantKept != 0}
	return m, d.err
}

func goneKey(d digest.Digest, space uint32) []byte {
	return binary.BigEndian.AppendUint32(digestKey(d), space)
}

// remnantOf is what is left of something in a namespace, if anything is.
func (s *session) remnantOf(d digest.Digest, space uint32) (m remnant, found bool, err error) {
	value := s.at(tableGone).Get(goneKey(d, space))
	if value == nil {
		return remnant{}, false, nil
	}
	m, err = decodeRemnant(value)
	return m, true, err
}

// remnantsOf are what is left of something in all namespaces, by their numbers.
func (s *session) remnantsOf(d digest.Digest) (map[uint32]remnant, error) {
	all := make(map[uint32]remnant)
	err := below(s.at(tableGone), digestKey(d), func(rest, value []byte) error {
		m, err := decodeRemnant(value)
		if err == nil && len(rest) != numberLength {
			err = errValue
		}
		if err == nil {
			all[binary.BigEndian.Uint32(rest)] = m
		}
		return err
	})
	return all, err
}

// putRemnant writes what is left of something, nil for nothing. The caller counts.
func (s *session) putRemnant(d digest.Digest, space uint32, old, now *remnant) error {
	if old != nil {
		if err := s.at(tableIdle).Delete(idleKey(old.kind(), old.since, space, d)); err != nil {
			return err
		}
	}
	var kept int64
	if old != nil && old.kept {
		kept -= old.bytes
	}
	if now != nil && now.kept {
		kept += now.bytes
	}
	if err := s.addTo(keyKept, kept); err != nil {
		return err
	}
	if now == nil {
		return s.at(tableGone).Delete(goneKey(d, space))
	}
	if err := s.at(tableIdle).Put(idleKey(now.kind(), now.since, space, d), nil); err != nil {
		return err
	}
	return s.at(tableGone).Put(goneKey(d, space), now.encode())
}

// leaveBlob notes that something of so many bytes is held again, or no longer, as
// a blob. Only what has the canonical digest has bytes of its own.
func (r *repoTx) leaveBlob(d digest.Digest, held bool, size int64) error {
	if held {
		return r.takeRemains(d)
	}
	if d.Algorithm() != digest.Canonical {
		return nil
	}
	if held, err := r.hasManifest(d); err != nil || held {
		return err
	}
	return r.leaveRemains(d, storage.Counted(size))
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
	return r.leaveRemains(d, storage.Counted(size))
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

// leaveRemains notes that the namespace has left so many bytes of something.
func (r *repoTx) leaveRemains(d digest.Digest, bytes int64) error {
	old, found, err := r.remnantOf(d, r.space.number)
	if err != nil {
		return err
	}
	now := remnant{bytes: bytes, since: r.now}
	if r.idleSince != nil {
		now.since = *r.idleSince
	}
	r.delta.remains += now.bytes - old.bytes
	if found {
		return r.putRemnant(d, r.space.number, &old, &now)
	}
	return r.putRemnant(d, r.space.number, nil, &now)
}

// takeRemains notes that the namespace holds something again. What is in
// quarantine of it is nobody's then.
func (r *repoTx) takeRemains(d digest.Digest) error {
	old, found, err := r.remnantOf(d, r.space.number)
	if err != nil || !found {
		return err
	}
	r.delta.remains -= old.bytes
	if err := r.putRemnant(d, r.space.number, &old, nil); err != nil || !old.kept {
		return err
	}
	_, known, err := r.remnantOf(d, nobody)
	if err != nil || known {
		return err
	}
	r.delta.others += old.bytes
	return r.putRemnant(d, nobody, nil, &old)
}

// sum reads one of the sums in meta.
func (s *session) sum(key []byte) (int64, error) {
	value := s.at(tableMeta).Get(key)
	if value == nil {
		return 0, nil
	}
	d := newDecoder(value)
	return d.size(), d.err
}

// addTo adds to one of the sums in meta.
func (s *session) addTo(key []byte, n int64) error {
	if n == 0 {
		return nil
	}
	before, err := s.sum(key)
	if err != nil {
		return err
	}
	e := newEncoder()
	e.uint(uint64(max(before+n, 0)))
	return s.at(tableMeta).Put(key, e.b)
}
