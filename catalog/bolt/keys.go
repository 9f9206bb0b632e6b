package bolt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"
	bbolt "go.etcd.io/bbolt"
)

const (
	// numberLength is that of a repository's or a namespace's number in a key.
	numberLength = 4
	// shortLength is that of the beginning of a digest.
	shortLength = 9
	timeLength  = 9
)

// kind is what a key says of a repository or a namespace; it follows the number.
type kind byte

const (
	kindName        kind = 0
	kindManifest    kind = 'm'
	kindMembers     kind = 'M'
	kindTag         kind = 't'
	kindTagged      kind = 'g'
	kindParent      kind = 'p'
	kindAlias       kind = 'a'
	kindOther       kind = 'b' // the other digests of a manifest
	kindReferrer    kind = 's'
	kindAnnotations kind = 'S'
	kindListed      kind = 'n'
	kindLink        kind = 'l'
	kindReference   kind = 'r'
	kindOrphan      kind = 'o'
	kindPushed      kind = 'w' // who pushed a tag
	kindPulled      kind = 'd' // how often an image was pulled

	kindTime kind = 't' // of a namespace
	kindUse  kind = 'u'
)

// numbered begins a key of a repository or a namespace.
func numbered(n uint32, k kind) []byte { return appendNumbered(make([]byte, 0, 80), n, k) }

func appendNumbered(b []byte, n uint32, k kind) []byte {
	return append(binary.BigEndian.AppendUint32(b, n), byte(k))
}

// digestKey is a digest as the beginning of a key.
func digestKey(d digest.Digest) []byte { return appendDigest(make([]byte, 0, 40), d) }

// short is the beginning of a digest's bytes.
func short(d digest.Digest) []byte {
	k := digestKey(d)
	return k[:min(len(k), shortLength)]
}

// shortKey is a key of digests or holders.
func shortKey(d digest.Digest, name string) []byte { return append(short(d), name...) }

// restDigest is the digest that a key ends with.
func restDigest(rest []byte) (digest.Digest, error) {
	d, rest, ok := cutDigest(rest)
	if !ok || len(rest) > 0 {
		return "", fmt.Errorf("key %q: %w", rest, errValue)
	}
	return d, nil
}

// below calls fn with every key that starts with prefix, and what follows it. Both
// are gone with the transaction.
func below(b *bbolt.Bucket, prefix []byte, fn func(rest, value []byte) error) error {
	c := b.Cursor()
	for k, v := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, v = c.Next() {
		if err := fn(k[len(prefix):], v); err != nil {
			return err
		}
	}
	return nil
}

// behind goes through the keys that start with prefix and follow on one that goes on
// with after, and the values, in order: what follows the prefix, as below does.
// Without after it begins with the first.
func behind(b *bbolt.Bucket, prefix, after []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(rest, value []byte) bool) {
		from := slices.Concat(prefix, after)
		c := b.Cursor()
		k, v := c.Seek(from)
		if len(after) > 0 && bytes.Equal(k, from) {
			k, v = c.Next()
		}
		for bytes.HasPrefix(k, prefix) && yield(k[len(prefix):], v) {
			k, v = c.Next()
		}
	}
}

// digestsBelow are the digests that keys with a prefix end with; only those that
// begin so, if short is given.
func digestsBelow(b *bbolt.Bucket, prefix []byte, short ...byte) (all []digest.Digest, err error) {
	err = below(b, append(prefix, short...), func(rest, _ []byte) error {
		if len(short) > 0 {
			rest = append(bytes.Clone(short), rest...)
		}
		d, err := restDigest(rest)
		all = append(all, d)
		return err
	})
	return all, err
}

// anyBelow reports whether a key starts with prefix.
func anyBelow(b *bbolt.Bucket, prefix []byte) bool {
	k, _ := b.Cursor().Seek(prefix)
	return bytes.HasPrefix(k, prefix)
}

// firstSecond is where the time of a key begins: a year before the first that
// berth can meet, as seconds before 1970.
const firstSecond = 63_000_000_000

// timeKey is a time as bytes that sort as times do, to the nanosecond, in all
// the years that RFC 3339 and file systems know; beyond them as their end.
func timeKey(t time.Time) []byte {
	const most = 1<<40 - 1
	k := make([]byte, 8, timeLength)
	binary.BigEndian.PutUint64(k, uint64(min(max(t.Unix()+firstSecond, 0), most)))
	return binary.BigEndian.AppendUint32(k[3:], uint32(t.Nanosecond()))
}

// queueKey is an index whose place has to be looked at again.
func queueKey(repository uint32, d digest.Digest) []byte {
	return appendDigest(binary.BigEndian.AppendUint32(nil, repository), d)
}

func invert(b []byte) []byte {
	for i := range b {
		b[i] = ^b[i]
	}
	return b
}

// listedKey sorts the newest image of a repository first.
func listedKey(repository uint32, created time.Time, d digest.Digest) []byte {
	return appendDigest(append(numbered(repository, kindListed), invert(timeKey(created))...), d)
}

// byTime is what sorts images by creation time.
func byTimeKey(created time.Time, id uuid.UUID) []byte { return append(timeKey(created), id[:]...) }

// target is what times and uuids say of an image.
func target(repository uint32, d digest.Digest) []byte {
	return append(binary.BigEndian.AppendUint32(nil, repository), short(d)...)
}
