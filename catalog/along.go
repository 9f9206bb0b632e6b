package catalog

import (
	"cmp"
	"context"
	"errors"
	"iter"

	"golang.org/x/sync/errgroup"
)

// A repository may be larger than memory. Storage and index are walked along side
// by side, in the order of names, and what is found is worked on a page at a time.

const (
	// pageSize is how many names are worked on by one reader, and published at
	// once.
	pageSize = 64
	// knownSize is how many names the index is asked for at once.
	knownSize = 256
	// readers is how many pages are worked on at once: what takes time is waiting
	// for storage that is far away.
	readers = 16
)

// found is what storage and index have under a name.
type found[K cmp.Ordered, V any] struct {
	name K
	// known is what the index has, nil for nothing. Storage has something, or had,
	// where it is nil.
	known *V
}

// along walks along what is stored and what the index knows, which next returns
// after a name, none only at the end.
func along[K cmp.Ordered, V any](stored iter.Seq2[K, error], nameOf func(V) K, next func(after K) ([]V, error)) iter.Seq2[found[K, V], error] {
	return func(yield func(found[K, V], error) bool) {
		known := walker[K, V]{nameOf: nameOf, next: next}
		for name, err := range stored {
			if err != nil {
				yield(found[K, V]{}, err)
				return
			}
			if !known.until(name, yield) {
				return
			}
			if v := known.first(); v != nil && nameOf(*v) == name {
				continue // it comes next
			}
			if known.err == nil && !yield(found[K, V]{name: name}, nil) {
				return
			}
		}
		known.rest(yield)
	}
}

// walker walks along what the index knows.
type walker[K cmp.Ordered, V any] struct {
	nameOf func(V) K
	next   func(after K) ([]V, error)

	page  []V
	last  K
	ended bool
	err   error
}

// first is what comes next, nil at the end and after an error.
func (w *walker[K, V]) first() *V {
	if len(w.page) == 0 && !w.ended && w.err == nil {
		w.page, w.err = w.next(w.last)
		w.ended = len(w.page) == 0
	}
	if len(w.page) == 0 {
		return nil
	}
	return &w.page[0]
}

func (w *walker[K, V]) give(v *V, yield func(found[K, V], error) bool) bool {
	w.last = w.nameOf(*v)
	w.page = w.page[1:]
	return yield(found[K, V]{name: w.last, known: v}, nil)
}

// until gives what comes before a name.
func (w *walker[K, V]) until(name K, yield func(found[K, V], error) bool) bool {
	for v := w.first(); v != nil && w.nameOf(*v) < name; v = w.first() {
		if !w.give(v, yield) {
			return false
		}
	}
	if w.err != nil {
		yield(found[K, V]{}, w.err)
	}
	return w.err == nil
}

func (w *walker[K, V]) rest(yield func(found[K, V], error) bool) {
	for v := w.first(); v != nil; v = w.first() {
		if !w.give(v, yield) {
			return
		}
	}
	if w.err != nil {
		yield(found[K, V]{}, w.err)
	}
}

// inPages has work do all of it, a page at a time, as many at once as there are
// free places. No more pages are held than are worked on.
func inPages[T any](ctx context.Context, places chan struct{}, all iter.Seq2[T, error], work func(context.Context, []T) error) error {
	g, ctx := errgroup.WithContext(ctx)
	var page []T
	begin := func() error {
		if len(page) == 0 {
			return nil
		}
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		own := page
		page = nil
		g.Go(func() error {
			defer func() { <-places }()
			return work(ctx, own)
		})
		return nil
	}
	var failed error
	for one, err := range all {
		if err == nil {
			if page = append(page, one); len(page) == pageSize {
				err = begin()
			}
		}
		if err != nil {
			failed = err
			break
		}
	}
	if failed == nil {
		failed = begin()
	}
	if err := g.Wait(); err != nil && (failed == nil || errors.Is(failed, context.Canceled)) {
		return err
	}
	return failed
}
