package bolt

import (
	"fmt"
	"strconv"

	"github.com/opencontainers/go-digest"
	bbolt "go.etcd.io/bbolt"

	"github.com/berth-oci/berth/storage"
)

// What a namespace no longer links or refers to stays stored until it is
// collected: it is among the remains of the namespace that had it last. An index
// that is built anew does not know whose it was.

// keyAllRemains is where the sum over all namespaces is.
var keyAllRemains = []byte(separator)

// setRemains notes that something of so many bytes is held again, or no longer,
// as a blob. Only what has the canonical digest has bytes of its own.
func (r *repoTx) setRemains(d digest.Digest, held bool, size int64) error {
	switch {
	case held:
		return r.putRemains(d, 0)
	case d.Algorithm() != digest.Canonical || r.hasManifest(d):
		return nil
	}
	return r.putRemains(d, storage.Counted(size))
}

// takeManifest notes that a manifest is about to come to the repository.
func (r *repoTx) takeManifest(d digest.Digest, found bool) error {
	if found {
		return nil
	}
	return r.putRemains(d, 0)
}

// leaveManifest notes that a manifest has left the repository.
func (r *repoTx) leaveManifest(d digest.Digest, size int64) error {
	var u use
	if _, err := get(r.tx.Bucket(bucketUses), key(r.namespace(), d.String()), &u); err != nil {
		return err
	}
	if u.there() || r.hasManifest(d) {
		return nil
	}
	return r.putRemains(d, storage.Counted(size))
}

// hasManifest reports whether a repository of the namespace holds a manifest.
func (r *repoTx) hasManifest(d digest.Digest) bool {
	b := r.tx.Bucket(bucketDigests)
	k, _ := b.Cursor().Seek(key(d.String(), r.namespace()))
	return string(k) == string(key(d.String(), r.namespace())) || anyBelow(b, key(d.String(), r.namespace()+"/"))
}

// putRemains sets what is left of something, 0 for nothing.
func (r *repoTx) putRemains(d digest.Digest, bytes int64) error {
	b, k := r.tx.Bucket(bucketRemains), key(r.namespace(), d.String())
	before, err := readSum(r.tx, k)
	if err != nil || before == bytes {
		return err
	}
	if err := writeSum(b, k, bytes); err != nil {
		return err
	}
	for _, of := range [][]byte{[]byte(r.namespace()), keyAllRemains} {
		sum, err := readSum(r.tx, of)
		if err != nil {
			return err
		}
		if err := writeSum(b, of, sum+bytes-before); err != nil {
			return err
		}
	}
	return nil
}

func readSum(tx *bbolt.Tx, k []byte) (int64, error) {
	v := tx.Bucket(bucketRemains).Get(k)
	if v == nil {
		return 0, nil
	}
	n, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("value of %q: %w", k, err)
	}
	return n, nil
}

func writeSum(b *bbolt.Bucket, k []byte, n int64) error {
	if n == 0 {
		return b.Delete(k)
	}
	return b.Put(k, strconv.AppendInt(nil, n, 10))
}
