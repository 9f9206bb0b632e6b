package budget

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

const limit = 16 << 20 // 2 MiB for what is small, 4 for what is large, 4 for work

func impatient() *Memory {
	m := New(Options{Limit: limit})
	m.small.patience, m.large.patience, m.work.patience = time.Millisecond, time.Millisecond, time.Millisecond
	return m
}

// TestSmallDoNotWait: what is large fills its share, and not that of the small.
func TestSmallDoNotWait(t *testing.T) {
	m := impatient()
	large := m.Hold()
	if err := large.Grow(t.Context(), limit/4+smallPart); err != nil {
		t.Fatal(err)
	}
	other := m.Hold()
	if err := other.Grow(t.Context(), smallPart+1); !errors.Is(err, ErrFull) {
		t.Errorf("more than there is: %v", err)
	}
	other.Release()
	var small []*Hold
	for range limit/8/smallPart - 1 {
		h := m.Hold()
		if err := h.Grow(t.Context(), smallPart); err != nil {
			t.Fatal(err)
		}
		small = append(small, h)
	}
	if err := m.Hold().Grow(t.Context(), 1); !errors.Is(err, ErrFull) {
		t.Errorf("more small than there is: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Hold().Grow(gone, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("of a client that has gone: %v", err)
	}
	large.Release()
	for _, h := range small {
		h.Release()
	}
	if m.Used() != 0 {
		t.Errorf("%d bytes are used by nobody", m.Used())
	}
	if err := large.Grow(t.Context(), limit/4+smallPart); err != nil {
		t.Errorf("what was given back: %v", err)
	}
}

// TestWork: one that is larger than all there is has all of it.
func TestWork(t *testing.T) {
	m := impatient()
	free, err := m.Work(t.Context(), 10*limit)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Work(t.Context(), 1); !errors.Is(err, ErrFull) {
		t.Errorf("beside it: %v", err)
	}
	free()
	if free, err = m.Work(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	free()
	if m.Used() != 0 {
		t.Errorf("%d bytes are used by nobody", m.Used())
	}
}

// TestReadAll takes what has come, not what is declared.
func TestReadAll(t *testing.T) {
	m := impatient()
	for _, size := range []int{0, 1, firstPiece - 1, firstPiece, firstPiece + 1, 100_000, 3 << 20} {
		content := bytes.Repeat([]byte("x"), size)
		for _, declared := range []int64{-1, int64(size), 4 << 20} {
			for _, r := range []io.Reader{bytes.NewReader(content), iotest.HalfReader(bytes.NewReader(content)), iotest.DataErrReader(bytes.NewReader(content))} {
				h := m.Hold()
				got, err := h.ReadAll(t.Context(), r, declared)
				if err != nil || !bytes.Equal(got, content) {
					t.Errorf("%d bytes, declared %d: got %d, %v", size, declared, len(got), err)
				}
				if used, most := m.Used(), int64(max(2*size, firstPiece)); used != int64(cap(got)) || used > most {
					t.Errorf("%d bytes, declared %d: %d are taken for %d", size, declared, used, cap(got))
				}
				h.Release()
			}
		}
	}
	h := m.Hold()
	defer h.Release()
	if got, err := h.ReadAll(t.Context(), bytes.NewReader(make([]byte, limit)), -1); !errors.Is(err, ErrFull) || len(got) == 0 || m.Used() > limit/2 {
		t.Errorf("more than there is: %d bytes, %v, %d used", len(got), err, m.Used())
	}
	broken := errors.New("broken")
	if _, err := m.Hold().ReadAll(t.Context(), iotest.ErrReader(broken), 4<<20); !errors.Is(err, broken) {
		t.Errorf("a broken reader: %v", err)
	}
	var none *Memory
	if got, err := none.Hold().ReadAll(t.Context(), bytes.NewReader(make([]byte, limit)), -1); err != nil || len(got) != limit {
		t.Errorf("without a budget: %d bytes, %v", len(got), err)
	}
}

// TestAccount: an account that has all it may leaves room for others, is told
// that it is its own, and has room again once it gives some back.
func TestAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refused []error
		m := New(Options{Limit: limit, PerAccount: 5 << 20, Refused: func(err error) { refused = append(refused, err) }})
		mallory, alice := For(t.Context(), "mallory"), For(t.Context(), "alice")
		first, second := m.Hold(), m.Hold()
		if err := first.Grow(mallory, 3<<20); err != nil {
			t.Fatal(err)
		}
		used, begin := m.Used(), time.Now()
		if err := second.Grow(mallory, 1); !errors.Is(err, ErrAccountFull) || !errors.Is(err, ErrFull) || RetryAfter(err) == RetryAfter(ErrFull) {
			t.Errorf("more than the account may hold: %v", err)
		}
		if waited := time.Since(begin); waited != patience || m.Used() != used {
			t.Errorf("it waited %v, and %d are used, not %d", waited, m.Used(), used)
		}
		free, err := m.Work(mallory, 3<<20) // all its work, though it asks for more
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Work(mallory, 1); !errors.Is(err, ErrAccountFull) {
			t.Errorf("more work than the account may have: %v", err)
		}
		begin = time.Now()
		other := m.Hold()
		if err := other.Grow(alice, 1<<20); err != nil {
			t.Errorf("another account: %v", err)
		}
		if free, err := m.Work(alice, 1<<20); err != nil {
			t.Errorf("work of another account: %v", err)
		} else {
			free()
		}
		if err := m.Hold().Grow(t.Context(), 1); err != nil {
			t.Errorf("nobody's: %v", err)
		}
		if waited := time.Since(begin); waited != 0 {
			t.Errorf("others waited %v", waited)
		}
		first.Release()
		free()
		if err := second.Grow(mallory, 3<<20); err != nil {
			t.Errorf("what was given back: %v", err)
		}
		if len(refused) != 2 || refused[0] != ErrAccountFull || refused[1] != ErrAccountFull {
			t.Errorf("told of %v", refused)
		}
		// What an account could have and all together cannot is not its own fault,
		// and is not held against it.
		full := m.Hold()
		if err := full.Grow(t.Context(), m.large.size-m.large.used.Load()+smallPart); err != nil {
			t.Fatal(err)
		}
		if err := other.Grow(alice, 1<<20); !errors.Is(err, ErrFull) || errors.Is(err, ErrAccountFull) {
			t.Errorf("more than there is for all: %v", err)
		}
		full.Release()
		second.Release()
		if err := other.Grow(alice, 2<<20); err != nil {
			t.Errorf("what was not had: %v", err)
		}
	})
}
