package registry

import (
	"context"
	"io"

	"github.com/distribution/distribution/v3"
)

// meteredWriter counts what an upload receives, and stops it where the quota
// ends: also one that declares no length.
type meteredWriter struct {
	distribution.BlobWriter
	ctx        context.Context
	quotas     *quotas
	repository string
}

// ReadFrom takes no more than there is room for. An upload that wants more is
// ended, so that nothing of it is left to count.
func (m *meteredWriter) ReadFrom(r io.Reader) (int64, error) {
	return m.BlobWriter.ReadFrom(&meteredReader{r, m, m.Size()})
}

// Write does the same for one piece.
func (m *meteredWriter) Write(p []byte) (int, error) {
	if err := m.quotas.receive(m.ctx, m.repository, m.ID(), m.Size(), int64(len(p))); err != nil {
		return 0, m.stop(err)
	}
	return m.BlobWriter.Write(p)
}

// meteredReader counts what is received before it is written.
type meteredReader struct {
	io.Reader
	w   *meteredWriter
	has int64
}

func (m *meteredReader) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	if n == 0 {
		return 0, err
	}
	if over := m.w.quotas.receive(m.w.ctx, m.w.repository, m.w.ID(), m.has, int64(n)); over != nil {
		return 0, m.w.stop(over)
	}
	m.has += int64(n)
	return n, err
}

// stop notes why the upload ends, and that nothing of it is to be left.
func (m *meteredWriter) stop(why error) error {
	r := recordOf(m.ctx)
	r.err, r.discard = why, m.ID()
	return why
}
