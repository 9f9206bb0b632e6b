package registry

import (
	"context"
	"errors"
	"io"

	"github.com/distribution/distribution/v3"
)

// meteredWriter counts what an upload receives, and stops it where the quota
// ends: also one that declares no length.
type meteredWriter struct {
	distribution.BlobWriter
	ctx       context.Context
	quotas    *quotas
	namespace string
}

// ReadFrom takes no more than there is room for. An upload that wants more is
// ended, so that nothing of it is left to count.
func (w *meteredWriter) ReadFrom(r io.Reader) (int64, error) {
	return w.BlobWriter.ReadFrom(&meteredReader{r, w, w.Size()})
}

// Write does the same for one piece.
func (w *meteredWriter) Write(p []byte) (int, error) {
	if err := w.quotas.reserve(w.ctx, w.namespace, w.ID(), w.Size(), int64(len(p))); err != nil {
		return 0, w.stop(err)
	}
	return w.BlobWriter.Write(p)
}

// meteredReader counts what is received before it is written.
type meteredReader struct {
	io.Reader
	w   *meteredWriter
	has int64
}

func (r *meteredReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n == 0 {
		return 0, err
	}
	if known := recordOf(r.w.ctx).known; r.has+int64(n) <= known {
		r.has += int64(n)
		return n, err
	}
	if over := r.w.quotas.reserve(r.w.ctx, r.w.namespace, r.w.ID(), r.has, int64(n)); over != nil {
		return 0, r.w.stop(over)
	}
	r.has += int64(n)
	return n, err
}

// stop notes why the upload ends, and that nothing of it is to be left.
func (w *meteredWriter) stop(why error) error {
	r := recordOf(w.ctx)
	r.err, r.discard = why, w.ID()
	return why
}

// Cancel ends the upload.
func (w *meteredWriter) Cancel(ctx context.Context) error {
	err := w.quotas.ended(ctx, w.namespace, w.ID())
	return errors.Join(w.BlobWriter.Cancel(ctx), err)
}

// Commit makes the upload a blob, which counts once a manifest refers to it.
func (w *meteredWriter) Commit(ctx context.Context, d distribution.Descriptor) (distribution.Descriptor, error) {
	canonical, err := w.BlobWriter.Commit(ctx, d)
	if err == nil {
		err = w.quotas.ended(ctx, w.namespace, w.ID())
	}
	return canonical, err
}
