package bolt

import (
	"bytes"
	"encoding/binary"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"
	bbolt "go.etcd.io/bbolt"
)

const (
	separator  = "\x00"
	timeLength = 12
)

// key joins the parts of a key.
func key(parts ...string) []byte { return []byte(strings.Join(parts, separator)) }

// prefix is what all keys below the given parts start with.
func prefix(parts ...string) []byte { return append(key(parts...), separator...) }

// split takes a key of two parts apart.
func split(k []byte) (first, second string) {
	a, b, _ := bytes.Cut(k, []byte(separator))
	return string(a), string(b)
}

// below calls fn with every key that starts with prefix, and what follows it.
func below(b *bbolt.Bucket, prefix []byte, fn func(rest string, value []byte) error) error {
	c := b.Cursor()
	for k, v := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, v = c.Next() {
		if err := fn(string(k[len(prefix):]), v); err != nil {
			return err
		}
	}
	return nil
}

// any reports whether a key starts with prefix.
func anyBelow(b *bbolt.Bucket, prefix []byte) bool {
	k, _ := b.Cursor().Seek(prefix)
	return bytes.HasPrefix(k, prefix)
}

// timeKey is a time as bytes that sort as times do, to the nanosecond and over
// all the years that Go knows.
func timeKey(t time.Time) []byte {
	k := make([]byte, timeLength)
	binary.BigEndian.PutUint64(k, uint64(t.Unix())^1<<63)
	binary.BigEndian.PutUint32(k[8:], uint32(t.Nanosecond()))
	return k
}

// byNameKey sorts the newest image of a repository first. The time may hold
// any byte, the separator too: it has a fixed length.
func byNameKey(repository string, created time.Time, d digest.Digest) []byte {
	k := prefix(repository)
	for _, b := range timeKey(created) {
		k = append(k, ^b)
	}
	return append(k, d...)
}

// byNameParts takes a key of byname apart.
func byNameParts(k []byte) (repository string, d digest.Digest) {
	i := bytes.IndexByte(k, 0)
	return string(k[:i]), digest.Digest(k[i+1+timeLength:])
}

func byTimeKey(namespace string, created time.Time, id uuid.UUID) []byte {
	return append(append(prefix(namespace), timeKey(created)...), id[:]...)
}
