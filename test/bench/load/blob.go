package load

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"sync"
)

// filling is what blobs are made of behind their own beginning: it does not
// compress, and is in memory once, however many blobs there are.
var filling = sync.OnceValue(func() []byte {
	bytes := make([]byte, 1<<20)
	source := rand.NewChaCha8(sha256.Sum256([]byte("berth")))
	_, _ = source.Read(bytes) // never fails
	return bytes
})

// Blob is content with its digest. Only its beginning is held in memory; what
// follows is the same in all blobs.
type Blob struct {
	Digest string
	Size   int64 // bytes

	head []byte
	rest int64 // bytes of filling that follow
}

// Bytes is the blob that consists of these bytes.
func Bytes(content []byte) Blob {
	return Blob{Digest: digestOf(content), Size: int64(len(content)), head: content}
}

// Random is a blob of a size in bytes that no other run has.
func Random(size int64) Blob {
	head := make([]byte, min(size, 32))
	for i := range head {
		head[i] = byte(rand.Uint32())
	}
	b := Blob{Size: size, head: head, rest: size - int64(len(head))}
	sum := sha256.New()
	_, _ = b.WriteTo(sum) // a hash takes everything
	b.Digest = "sha256:" + hex.EncodeToString(sum.Sum(nil))
	return b
}

// WriteTo writes the content.
func (b Blob) WriteTo(w io.Writer) (written int64, err error) {
	n, err := w.Write(b.head)
	written = int64(n)
	for left := b.rest; left > 0 && err == nil; {
		n, err = w.Write(filling()[:min(left, int64(len(filling())))])
		written += int64(n)
		left -= int64(n)
	}
	return written, err
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}
