package bolt

import (
	"bytes"
	"fmt"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	bbolt "go.etcd.io/bbolt"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// reader puts together the entries of one answer. What it needs for one it uses
// again for the next, and digests it compares as the bytes that keys have.
type reader struct {
	*session
	arena
	// brief is [index.Query.Brief].
	brief bool

	cursor  *bbolt.Cursor // of what is known of repositories
	key     []byte        // the one that is looked for
	raw     []byte        // the digest of an entry
	member  []byte        // that of one that it is put together from
	tags    []string
	records []*record // those of one entry, of which used are in use
	used    int
	from    decoder
	repo    *repoTx // whose entry it is
	size    int     // what it takes in the index, so far
	compose image.Composer
	nears   []*near // of a list by name, used again
}

// How an arena allocates for a list of entries; for one, each slice by itself.
const (
	pieceOfOne, manyOfOne = 1 << 10, 1
	manyOfList            = 64
)

// readers are used again by later transactions.
var readers = sync.Pool{New: func() any {
	rd := &reader{}
	rd.compose.Find = rd.find
	return rd
}}

// reading is the session's reader.
func (s *session) reading() *reader {
	if s.reader == nil {
		s.reader = readers.Get().(*reader)
		s.reader.session, s.reader.cursor = s, s.at(tableRepositories).Cursor()
		s.reader.piece, s.reader.many = pieceOfOne, manyOfOne
	}
	return s.reader
}

// expect says that so many entries are going to be read, of a list.
func (rd *reader) expect(n int) {
	rd.many = max(1, min(n, manyOfList))
	rd.piece = rd.many * pieceOfOne / 4
}

// done ends a session that only reads. Nothing that is kept may point into the
// file: it may be mapped elsewhere by the next one.
func (s *session) done() {
	rd := s.reader
	if rd == nil {
		return
	}
	s.reader = nil
	const most = 16 // that are worth being kept
	const mostTags = 1024
	if clear(rd.tags[:min(cap(rd.tags), mostTags)]); cap(rd.tags) > mostTags {
		rd.tags = nil
	}
	*rd = reader{key: rd.key[:0], raw: rd.raw[:0], member: rd.member[:0], tags: rd.tags[:0], records: rd.records[:min(len(rd.records), most)], nears: rd.nears, compose: image.Composer{Find: rd.compose.Find}}
	for _, m := range rd.records {
		m.forget()
	}
	for _, n := range rd.nears {
		clear(n.manifests[:cap(n.manifests)])
		clear(n.tags[:cap(n.tags)])
	}
	readers.Put(rd)
}

// entry reads an image by any of its digests, and says how many bytes it takes
// in the index.
func (r *repoTx) entry(d digest.Digest) (e index.Entry, size int, err error) {
	rd := r.reading()
	rd.raw = appendDigest(rd.raw[:0], r.canonical(d))
	size, err = rd.entry(r, rd.raw, nil, &e)
	return e, size, err
}

// entry reads an image by the bytes of its canonical digest into e. value is that
// of its manifest, nil if it is still to be looked for.
func (rd *reader) entry(r *repoTx, raw, value []byte, e *index.Entry) (size int, err error) {
	if value == nil {
		if value = rd.manifest(r, raw); value == nil {
			return 0, index.ErrNotFound
		}
	}
	rd.repo, rd.size, rd.used = r, 0, 0
	m, err := rd.decode(rd.digest(raw), value)
	if err != nil {
		return 0, err
	}
	found := m.Image != nil
	if found {
		e.Image = m.image
	} else if m.composed && m.standing.Found {
		rd.compose.Brief = rd.brief
		if found, err = rd.compose.Compose(&m.Description, &e.Image); err != nil {
			return 0, err
		}
	}
	if !found {
		return 0, index.ErrNotFound
	}
	e.Repository, e.Digest, e.Tags = r.repository, m.Digest, rd.tagsOf(r, raw)
	if rd.brief {
		e.Image.Platforms = nil
	}
	for _, tag := range e.Tags {
		rd.size += len(r.repository) + len(tag)
	}
	if !r.plain {
		names, err := r.names(m.Digest)
		if err != nil {
			return 0, err
		}
		e.Aliases = names[1:]
	}
	return rd.size, nil
}

// find is what an index is put together from.
func (rd *reader) find(d digest.Digest) (*image.Description, error) {
	d = rd.repo.canonical(d)
	rd.member = appendDigest(rd.member[:0], d)
	value := rd.manifest(rd.repo, rd.member)
	if value == nil {
		return nil, nil
	}
	m, err := rd.decode(d, value)
	if err != nil {
		return nil, err
	}
	return &m.Description, nil
}

func (rd *reader) decode(d digest.Digest, value []byte) (*record, error) {
	if rd.used == len(rd.records) {
		rd.records = append(rd.records, &record{})
	}
	m := rd.records[rd.used]
	rd.used++
	*m = m.empty()
	rd.from.in, rd.from.brief = &rd.arena, rd.brief
	err := m.decode(d, rd.from.on(value), len(value), func() []byte {
		return rd.repo.data().Get(rd.repo.by(kindMembers, d))
	})
	if err != nil {
		return nil, fmt.Errorf("manifest %s@%s: %w", rd.repo.repository, d, err)
	}
	rd.size += m.stored
	return m, nil
}

// seek goes to the first key of a repository that begins so, or follows. The key
// is in rd.key.
func (rd *reader) seek(r *repoTx, k kind, rest []byte) (key, value []byte) {
	rd.key = append(appendNumbered(rd.key[:0], r.known.number, k), rest...)
	return rd.cursor.Seek(rd.key)
}

// manifest is the value of a manifest, nil if it is not there.
func (rd *reader) manifest(r *repoTx, raw []byte) []byte {
	if r.near != nil {
		return r.near.manifest(raw)
	}
	if k, v := rd.seek(r, kindManifest, raw); bytes.Equal(k, rd.key) {
		return v
	}
	return nil
}

// tagged reports whether a manifest has a tag.
func (rd *reader) tagged(r *repoTx, raw []byte) bool {
	if r.near != nil {
		return len(r.near.tagsOf(raw)) > 0
	}
	k, _ := rd.seek(r, kindTagged, raw)
	return bytes.HasPrefix(k, rd.key)
}

// tagsOf are the tags of a manifest by its canonical digest.
func (rd *reader) tagsOf(r *repoTx, raw []byte) []string {
	rd.tags = rd.tags[:0]
	if r.near != nil {
		for _, tag := range r.near.tagsOf(raw) {
			rd.tags = append(rd.tags, rd.string(tag.k[len(raw):]))
		}
	} else {
		for k, _ := rd.seek(r, kindTagged, raw); bytes.HasPrefix(k, rd.key); k, _ = rd.cursor.Next() {
			rd.tags = append(rd.tags, rd.string(k[len(rd.key):]))
		}
	}
	tags := rd.strings.take(len(rd.tags), rd.many)
	copy(tags, rd.tags)
	return tags
}

// near is what a small repository has of manifests and tags, read in one go: what
// lies side by side costs less so than to be looked for one by one.
type near struct{ manifests, tags []pair }

// pair is a key, without what it has in common with the others, and its value.
type pair struct{ k, v []byte }

// maxNear is how many manifests, and how many tags, are read so at most.
const maxNear = 128

// load reads what is near, if it is little enough, and no more than is worth it
// for so many images. It uses what was read so n-th before.
func (r *repoTx) load(images, n int) {
	if r.known.manifests > int64(min(maxNear, 4*images)) {
		return
	}
	rd := r.reading()
	for n >= len(rd.nears) {
		rd.nears = append(rd.nears, &near{})
	}
	all := rd.nears[n]
	all.manifests, all.tags = all.manifests[:0], all.tags[:0]
	for _, part := range []struct {
		k    kind
		into *[]pair
	}{{kindManifest, &all.manifests}, {kindTagged, &all.tags}} {
		for k, v := rd.seek(r, part.k, nil); bytes.HasPrefix(k, rd.key); k, v = rd.cursor.Next() {
			if len(*part.into) == maxNear {
				return
			}
			*part.into = append(*part.into, pair{k[len(rd.key):], v})
		}
	}
	r.near = all
}

func search(pairs []pair, k []byte) (at int, found bool) {
	return slices.BinarySearchFunc(pairs, k, func(p pair, k []byte) int { return bytes.Compare(p.k, k) })
}

func (n *near) manifest(raw []byte) []byte {
	if at, found := search(n.manifests, raw); found {
		return n.manifests[at].v
	}
	return nil
}

// tagsOf are the tags of a manifest, with its digest in front.
func (n *near) tagsOf(raw []byte) []pair {
	begin, _ := search(n.tags, raw)
	end := begin
	for end < len(n.tags) && bytes.HasPrefix(n.tags[end].k, raw) {
		end++
	}
	return n.tags[begin:end]
}
