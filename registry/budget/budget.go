// Package budget bounds the memory that the bodies of requests, and answers to
// them, take in the whole process. What finds no room waits a few seconds for
// it, and is then refused: the client is told to try again.
//
// There are three shares, so that nobody who needs little waits for those who
// take much. Each [Hold] has its first 64 KiB from the first and more from the
// second: a manifest has a few KiB, and up to 4 MiB. The third is for what is
// made of them for a moment, and needs no client to be given back.
package budget

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// smallPart is how many bytes of a hold come from the first share.
	smallPart = 64 << 10
	// firstPiece is how many bytes ReadAll begins with.
	firstPiece = 4 << 10
	// patience is how long room is waited for.
	patience = 3 * time.Second
)

// RetryAfter is the header's value for who was refused, in seconds.
const RetryAfter = "5"

// ErrFull is returned where there was no room in time.
var ErrFull = errors.New("as much is held in memory as may be")

// Memory is a budget. A nil one has no bounds.
type Memory struct {
	small, large, work share
}

// share is a part of a budget.
type share struct {
	size     int64 // in bytes
	patience time.Duration
	sem      *semaphore.Weighted
	used     atomic.Int64
}

// New divides up to five eighths of limit, in bytes, which is for the whole
// process: an eighth for what is small, a quarter for what is large, and a
// quarter for what is made of it.
func New(limit int64) *Memory {
	m := &Memory{}
	for s, size := range map[*share]int64{&m.small: limit / 8, &m.large: limit / 4, &m.work: limit / 4} {
		s.size, s.patience, s.sem = size, patience, semaphore.NewWeighted(size)
	}
	return m
}

// Used is what is taken, in bytes.
func (m *Memory) Used() int64 {
	return m.small.used.Load() + m.large.used.Load() + m.work.used.Load()
}

// Hold begins with nothing. It is used by one goroutine.
func (m *Memory) Hold() *Hold { return &Hold{memory: m} }

// Work takes bytes for a moment: free gives them back. What is more than there
// is at all waits until it is alone. The error is [ErrFull], or that of ctx.
func (m *Memory) Work(ctx context.Context, bytes int64) (free func(), err error) {
	if m == nil {
		return func() {}, nil
	}
	bytes = min(bytes, m.work.size)
	if err := m.work.take(ctx, bytes); err != nil {
		return nil, err
	}
	return func() { m.work.free(bytes) }, nil
}

func (s *share) take(ctx context.Context, bytes int64) error {
	if bytes <= 0 {
		return nil
	}
	if !s.sem.TryAcquire(bytes) {
		wait, cancel := context.WithTimeout(ctx, s.patience)
		defer cancel()
		if s.sem.Acquire(wait, bytes) != nil {
			if err := ctx.Err(); err != nil {
				return err
			}
			return ErrFull
		}
	}
	s.used.Add(bytes)
	return nil
}

func (s *share) free(bytes int64) {
	if bytes > 0 {
		s.used.Add(-bytes)
		s.sem.Release(bytes)
	}
}

// Hold is what one request has taken.
type Hold struct {
	memory       *Memory
	small, large int64
}

// Grow takes so many bytes more. The error is [ErrFull], or that of ctx.
func (h *Hold) Grow(ctx context.Context, bytes int64) error {
	if h.memory == nil {
		return nil
	}
	small := min(bytes, smallPart-h.small)
	if err := h.memory.small.take(ctx, small); err != nil {
		return err
	}
	h.small += small
	if err := h.memory.large.take(ctx, bytes-small); err != nil {
		return err
	}
	h.large += bytes - small
	return nil
}

// Release gives everything back. The Hold can be used again.
func (h *Hold) Release() {
	if h.memory != nil {
		h.memory.small.free(h.small)
		h.memory.large.free(h.large)
	}
	h.small, h.large = 0, 0
}

// ReadAll reads to the end of r, and takes room as the bytes come: a client that
// declares much and sends little takes little. declared is how many bytes there
// may be, below 0 if nobody knows. It returns what it has read also with an
// error, which is that of r, [ErrFull], or that of ctx.
func (h *Hold) ReadAll(ctx context.Context, r io.Reader, declared int64) (content []byte, err error) {
	for {
		if len(content) == cap(content) {
			size := max(2*cap(content), firstPiece)
			if declared >= int64(len(content)) {
				size = min(size, int(declared)+1) // the one shows that it ends there
			}
			if err := h.Grow(ctx, int64(size-cap(content))); err != nil {
				return content, err
			}
			content = append(make([]byte, 0, size), content...)
		}
		n, err := r.Read(content[len(content):cap(content)])
		content = content[:len(content)+n]
		if errors.Is(err, io.EOF) {
			return content, nil
		}
		if err != nil {
			return content, err
		}
	}
}
