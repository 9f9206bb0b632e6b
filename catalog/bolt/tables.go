package bolt

import (
	"bytes"
	"fmt"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"
	bbolt "go.etcd.io/bbolt"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// table is one of the file's buckets.
type table int

const (
	tableMeta table = iota
	tableNames
	tableSpaces
	tableRepositories
	tableNamespaces
	tableTimes
	tableUUIDs
	tableDigests
	tableHolders
	tableLayers
	tableReorders
	tablePending
	tableDirty
	tableQueue
	tableIdle
	tableGone
	tableChanges
	tableFormer
	tables
)

var tableNamesInFile = [tables][]byte{
	tableMeta: []byte("meta"), tableNames: []byte("names"), tableSpaces: []byte("spaces"),
	tableRepositories: []byte("repositories"), tableNamespaces: []byte("namespaces"),
	tableTimes: []byte("times"), tableUUIDs: []byte("uuids"), tableDigests: []byte("digests"),
	tableHolders: []byte("holders"), tableLayers: []byte("layers"), tableReorders: []byte("moves"),
	tablePending: []byte("pending"), tableDirty: []byte("touched"), tableQueue: []byte("queue"),
	tableIdle: []byte("idle"), tableGone: []byte("gone"),
	tableChanges: []byte("changes"), tableFormer: []byte("former"),
}

// session is a transaction with its buckets.
type session struct {
	tx      *bbolt.Tx
	buckets [tables]*bbolt.Bucket
	reader  *reader // see reading

	// Of a session that writes: the time, and how long nothing is renewed that just
	// was.
	now, coalesce index.Uptime
	building      *building // nil but in a Build
}

func (s *session) at(t table) *bbolt.Bucket {
	if s.building != nil {
		s.building.look(s.tx)
	}
	if s.buckets[t] == nil {
		if s.buckets[t] = s.tx.Bucket(tableNamesInFile[t]); s.buckets[t] == nil {
			panic(fmt.Errorf("bucket %s: %w", tableNamesInFile[t], errValue)) // see guard
		}
	}
	return s.buckets[t]
}

// repository is what the index has of a repository under its name.
type repository struct {
	number uint32 // 0 for one that is not there
	// manifests counts all, images the listed ones, links the blobs, aliases the
	// other digests of manifests.
	manifests, images, links, aliases int64
	// last is the number of its last record in the feed, 0 for none.
	last uint64
}

func decodeRepository(value []byte) (repository, error) {
	if value == nil {
		return repository{}, nil
	}
	d := newDecoder(value)
	r := repository{number: uint32(d.uint()), manifests: d.int(), images: d.int(), links: d.int(), aliases: d.int(), last: d.uint()} //nolint:gosec // as encoded
	return r, d.err
}

func (r repository) encode() []byte {
	e := newEncoder()
	e.uint(uint64(r.number))
	for _, n := range []int64{r.manifests, r.images, r.links, r.aliases} {
		e.int(n)
	}
	e.uint(r.last)
	return e.b
}

// spaceRecord is what the index has of a namespace under its name.
type spaceRecord struct {
	number uint32 // 0 for one that is not there
	// repositories counts all, images the listed ones.
	repositories, images int64
	// bytes are what counts, idle those of blobs that are, and remains those of
	// what is gone (see the package index).
	bytes, idle, remains int64
}

func decodeSpace(value []byte) (spaceRecord, error) {
	if value == nil {
		return spaceRecord{}, nil
	}
	d := newDecoder(value)
	s := spaceRecord{
		number: uint32(d.uint()), repositories: d.int(), images: d.int(), //nolint:gosec // as encoded
		bytes: d.int(), idle: d.int(), remains: d.int(),
	}
	return s, d.err
}

func (s spaceRecord) encode() []byte {
	e := newEncoder()
	e.uint(uint64(s.number))
	for _, n := range []int64{s.repositories, s.images, s.bytes, s.idle, s.remains} {
		e.int(n)
	}
	return e.b
}

// stats reads what all of the index holds.
func (s *session) stats() (st index.Stats, err error) {
	value := s.at(tableMeta).Get(keyStats)
	if value == nil {
		return st, nil
	}
	d := newDecoder(value)
	for _, n := range statFields(&st) {
		*n = d.int()
	}
	return st, d.err
}

func statFields(st *index.Stats) []*int64 {
	return []*int64{&st.Unikernels, &st.ROMs, &st.Manifests, &st.Repositories, &st.ImageRepositories, &st.Bytes, &st.Uncollected}
}

// repoTx is one repository in a transaction. A repository that is not there has
// the number 0, which is in no key.
type repoTx struct {
	*session
	repository string
	known      repository
	// plain is set if no manifest of it has another digest.
	plain bool
	// near is set where it is cheaper than to look things up one by one.
	near  *near
	space spaceRecord
	change
}

// open looks a repository up.
func (s *session) open(name string) (*repoTx, error) {
	r := &repoTx{session: s, repository: name}
	var err error
	r.known, err = decodeRepository(s.at(tableNames).Get([]byte(name)))
	r.plain = r.known.aliases == 0
	return r, err
}

// nameOf is the name of a repository by its number.
func (s *session) nameOf(number uint32) (string, error) {
	name := s.at(tableRepositories).Get(numbered(number, kindName))
	if name == nil {
		return "", fmt.Errorf("repository %d: %w", number, errValue)
	}
	return string(name), nil
}

// openNumber looks a repository up by its number.
func (s *session) openNumber(number uint32) (*repoTx, error) {
	name, err := s.nameOf(number)
	if err != nil {
		return nil, err
	}
	return s.openAs(name, number)
}

// openAs looks a repository up that is to have a number.
func (s *session) openAs(name string, number uint32) (*repoTx, error) {
	r, err := s.open(name)
	if err == nil && r.known.number != number {
		err = fmt.Errorf("repository %s: %w", name, errValue)
	}
	return r, err
}

func (r *repoTx) data() *bbolt.Bucket { return r.at(tableRepositories) }

// key is a key of the repository.
func (r *repoTx) key(k kind) []byte { return numbered(r.known.number, k) }

// by is a key of the repository that has digests.
func (r *repoTx) by(k kind, digests ...digest.Digest) []byte {
	b := r.key(k)
	for _, d := range digests {
		b = appendDigest(b, d)
	}
	return b
}

// manifest reads a manifest by its canonical digest; nil if it is not there.
func (r *repoTx) manifest(d digest.Digest) (*record, error) {
	value := r.data().Get(r.by(kindManifest, d))
	if value == nil {
		return nil, nil
	}
	return r.decode(d, value)
}

func (r *repoTx) decode(d digest.Digest, value []byte) (*record, error) {
	m, err := decodeRecord(d, value, func() []byte { return r.data().Get(r.by(kindMembers, d)) })
	if err != nil {
		return nil, fmt.Errorf("manifest %s@%s: %w", r.repository, d, err)
	}
	return m, nil
}

func (r *repoTx) has(d digest.Digest) bool { return r.data().Get(r.by(kindManifest, d)) != nil }

// find is what an index is put together from.
func (r *repoTx) find(d digest.Digest) (*image.Description, error) {
	m, err := r.manifest(r.canonical(d))
	if m == nil || err != nil {
		return nil, err
	}
	return &m.Description, nil
}

// target finds the manifest that a value of times or uuids names: of those that
// begin so, the one with that UUID. It returns the bytes of its digest, and its
// value.
func (r *repoTx) target(short []byte, id uuid.UUID) (raw, value []byte, err error) {
	rd := r.reading()
	const start = numberLength + 1
	k, v := rd.seek(r, kindManifest, short)
	next, _ := rd.cursor.Next()
	alone := !bytes.HasPrefix(next, rd.key) // nearly always
	if !alone {
		k, v = rd.seek(r, kindManifest, short)
	}
	for ; bytes.HasPrefix(k, rd.key); k, v = rd.cursor.Next() {
		d, err := restDigest(k[start:])
		if alone || err != nil || index.ImageUUID(r.repository, d) == id {
			return k[start:], v, err
		}
	}
	return nil, nil, index.ErrNotFound
}

// startingWith are the manifests whose digests start so, nearly always one.
func (r *repoTx) startingWith(short []byte) ([]digest.Digest, error) {
	return digestsBelow(r.data(), r.key(kindManifest), short...)
}

// spaceOf reads what the index has of the repository's namespace.
func (s *session) spaceOf(namespace string) (spaceRecord, error) {
	return decodeSpace(s.at(tableSpaces).Get([]byte(namespace)))
}
