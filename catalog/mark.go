package catalog

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"

	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
)

// A copy of the index that is put back is older than storage: what has happened
// since is not in it, and its numbers have been given out for other changes. So
// storage says which index is its own, by a mark that both have, and that is
// another one after every start: a copy from before the last start has an old one.
// A copy that was made since then has the right mark, and a lower number than
// storage says that the index has given out: that is written at the end of each
// run, and once a minute while there are changes. What is not noticed is a copy
// that was made within the last minute before berth was killed and put back before
// it has started again. An index that is newer than storage has a mark that storage
// never had.
//
// The mark changes in three steps, storage first: at every moment the mark of the
// index is one of the two that storage has.

// Marked is an index that keeps a mark.
type Marked interface {
	index.Feed
	// Mark returns what SetMark has set last, "" for nothing.
	Mark(ctx context.Context) (string, error)
	// SetMark keeps a mark with the index, also over a power cut.
	SetMark(ctx context.Context, mark string) error
}

// ErrOtherIndex is returned for an index that is not the one which storage had
// last: it has to be built anew.
var ErrOtherIndex = errors.New("the index is not the last one of this storage; it may be a copy that was put back")

// Claim makes an index that has been opened that of its storage, until the next
// one. It returns ErrOtherIndex if it is not the last one that was, unless it has
// just been made. That storage cannot be written does not keep berth from starting:
// it is logged, and the index stays the one that it was.
func Claim(ctx context.Context, x Marked, store *storage.Store, made bool, log *slog.Logger) error {
	mark, err := x.Mark(ctx)
	if err != nil {
		return err
	}
	m, err := store.Mark(ctx)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		if mark != "" && !made {
			return fmt.Errorf("%w: storage does not know it", ErrOtherIndex)
		}
	case err != nil:
		return err
	case made:
	case mark == "" || mark != m.Current && mark != m.Next:
		return ErrOtherIndex
	default:
		if err := isBehind(x.Last(), m); err != nil {
			return err
		}
	}
	next := rand.Text()
	for _, step := range []func() error{
		func() error { return store.SetMark(ctx, markOf(x.Last(), mark, next)) },
		func() error { return x.SetMark(ctx, next) },
		func() error { return store.SetMark(ctx, markOf(x.Last(), next, "")) },
	} {
		if err := step(); err != nil {
			log.Warn("that the index is the last one of this storage cannot be noted: a copy that is put back would not be noticed", "error", err)
			return nil
		}
	}
	return nil
}

// isBehind returns ErrOtherIndex if an index has given out less than storage says.
func isBehind(last index.Revision, m storage.Mark) error {
	if start := startOf(last); start != m.Start || last.N < m.Revision {
		return fmt.Errorf("%w: it ends at %s, and has been at %s.%d", ErrOtherIndex, last, m.Start, m.Revision)
	}
	return nil
}

func startOf(r index.Revision) string { return fmt.Sprintf("%016x", r.Start) }

func markOf(last index.Revision, current, next string) storage.Mark {
	return storage.Mark{Current: current, Next: next, Start: startOf(last), Revision: last.N}
}

// noteRevision writes into storage how far the index has come, if that is not
// written there.
func (c *Catalog) noteRevision(ctx context.Context) error {
	last := c.index.Last()
	if last == c.noted {
		return nil
	}
	m, err := c.store.Mark(ctx)
	if errors.Is(err, storage.ErrNotFound) {
		return nil // nobody has claimed the index
	}
	if err == nil && m.Start == startOf(last) && m.Revision < last.N {
		m.Revision = last.N
		err = c.store.SetMark(ctx, m)
	}
	if err == nil {
		c.noted = last
	}
	return err
}
