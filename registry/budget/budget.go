// Package budget bounds the memory that the bodies of requests, and answers to
// them, take in the whole process, and for one account. What finds no room waits
// a few seconds for it, and is then refused: the client is told to try again.
//
// There are three shares, so that nobody who needs little waits for those who
// take much. Each [Hold] has its first 64 KiB from the first and more from the
// second: a manifest has a few KiB, and up to 4 MiB. The third is for what is
// made of them for a moment, and needs no client to be given back.
package budget

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
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

// ErrFull is returned where there was no room in time.
var ErrFull = errors.New("as much is held in memory as may be")

// ErrAccountFull is the [ErrFull] of an account that holds as much as one may.
var ErrAccountFull = fmt.Errorf("%w for one account", ErrFull)

// RetryAfter is the header's value for who was refused with an error, in
// seconds. What an account holds itself ends with its own requests; what all
// hold takes longer to change.
func RetryAfter(err error) string {
	if errors.Is(err, ErrAccountFull) {
		return "1"
	}
	return "5"
}

// Options say how much memory there is.
type Options struct {
	// Limit is for the whole process, in bytes: up to five eighths of it are
	// given out.
	Limit int64
	// PerAccount is how much of that one account may have, in bytes; 0 means a
	// quarter.
	PerAccount int64
	// Refused is told of every [ErrFull] that is returned. It may be nil.
	Refused func(error)
}

// Memory is a budget. A nil one has no bounds.
type Memory struct {
	small, large, work share
	refused            func(error)
	// Of what one account may have, three fifths are for what it holds and two
	// for what is made of it.
	ownHeld, ownWork int64

	mu       sync.Mutex
	accounts map[string]*account // that ever took any; guarded by mu
}

// account is what one account has, of both kinds.
type account struct{ held, work share }

// share is a part of a budget. One that was not initialised has no end.
type share struct {
	size     int64 // in bytes
	full     error // what it says if there is no room
	patience time.Duration
	sem      *semaphore.Weighted
	used     atomic.Int64
}

func (s *share) init(size int64, full error) {
	s.size, s.full, s.patience, s.sem = size, full, patience, semaphore.NewWeighted(size)
}

// New divides a limit: an eighth for what is small, a quarter for what is large,
// and a quarter for what is made of it.
func New(o Options) *Memory {
	m := &Memory{refused: o.Refused, accounts: make(map[string]*account)}
	m.small.init(o.Limit/8, ErrFull)
	m.large.init(o.Limit/4, ErrFull)
	m.work.init(o.Limit/4, ErrFull)
	most := o.PerAccount
	if most == 0 {
		most = (m.small.size + m.large.size + m.work.size) / 4
	}
	m.ownHeld, m.ownWork = most*3/5, most*2/5
	if m.refused == nil {
		m.refused = func(error) {}
	}
	return m
}

// Used is what is taken, in bytes.
func (m *Memory) Used() int64 {
	return m.small.used.Load() + m.large.used.Load() + m.work.used.Load()
}

type accountKey struct{}

// For returns a context in which what is taken is an account's; "" is nobody's,
// and bounded only with everything else.
func For(ctx context.Context, account string) context.Context {
	if account == "" {
		return ctx
	}
	return context.WithValue(ctx, accountKey{}, account)
}

// nobody is the account of whoever has none.
var nobody = &account{}

// account is what ctx says that the account has. There are no more of them than
// there are accounts.
func (m *Memory) account(ctx context.Context) *account {
	name, _ := ctx.Value(accountKey{}).(string)
	if name == "" {
		return nobody
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.accounts[name]
	if a == nil {
		a = &account{}
		a.held.init(m.ownHeld, ErrAccountFull)
		a.work.init(m.ownWork, ErrAccountFull)
		m.accounts[name] = a
	}
	return a
}

// Hold begins with nothing. It is used by one goroutine.
func (m *Memory) Hold() *Hold { return &Hold{memory: m} }

// Work takes bytes for a moment: free gives them back. What is more than there
// is at all waits until it is alone. The error is [ErrFull], or that of ctx.
func (m *Memory) Work(ctx context.Context, bytes int64) (free func(), err error) {
	if m == nil {
		return func() {}, nil
	}
	own := &m.account(ctx).work
	ofOwn, ofAll := own.most(bytes), m.work.most(bytes)
	if err := m.take(ctx, own, ofOwn, &m.work, ofAll); err != nil {
		return nil, err
	}
	return func() { m.work.free(ofAll); own.free(ofOwn) }, nil
}

// take takes bytes of an account's own share, and of that of all. Who waits for
// its own has nothing of what others wait for.
func (m *Memory) take(ctx context.Context, own *share, ofOwn int64, all *share, ofAll int64) error {
	err := own.take(ctx, ofOwn)
	if err == nil {
		if err = all.take(ctx, ofAll); err != nil {
			own.free(ofOwn)
		}
	}
	if errors.Is(err, ErrFull) {
		m.refused(err)
	}
	return err
}

// most is no more than the share has.
func (s *share) most(bytes int64) int64 {
	if s.sem == nil {
		return bytes
	}
	return min(bytes, s.size)
}

func (s *share) take(ctx context.Context, bytes int64) error {
	if bytes <= 0 || s.sem == nil {
		return nil
	}
	if !s.sem.TryAcquire(bytes) {
		wait, cancel := context.WithTimeout(ctx, s.patience)
		defer cancel()
		if s.sem.Acquire(wait, bytes) != nil {
			if err := ctx.Err(); err != nil {
				return err
			}
			return s.full
		}
	}
	s.used.Add(bytes)
	return nil
}

func (s *share) free(bytes int64) {
	if bytes > 0 && s.sem != nil {
		s.used.Add(-bytes)
		s.sem.Release(bytes)
	}
}

// Hold is what one request has taken.
type Hold struct {
	memory       *Memory
	own          *share // of the request's account, once it has taken something
	small, large int64
}

// Grow takes so many bytes more. The error is [ErrFull], or that of ctx.
func (h *Hold) Grow(ctx context.Context, bytes int64) error {
	if h.memory == nil {
		return nil
	}
	if h.own == nil {
		h.own = &h.memory.account(ctx).held
	}
	small := min(bytes, smallPart-h.small)
	if err := h.memory.take(ctx, h.own, small, &h.memory.small, small); err != nil {
		return err
	}
	h.small += small
	if err := h.memory.take(ctx, h.own, bytes-small, &h.memory.large, bytes-small); err != nil {
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
		if h.own != nil {
			h.own.free(h.small + h.large)
		}
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
