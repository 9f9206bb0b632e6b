package indextest

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
)

// When says at which moment a call fails.
type When int

const (
	// Before: nothing has happened.
	Before When = iota
	// After: it has happened, and is durable, and only the answer is lost.
	After
	// Late: Link has said that it is done, and then it could not be written. Other
	// calls fail before.
	Late
)

// ErrInjected is what calls fail with that a [Faulty] makes fail.
var ErrInjected = errors.New("injected failure")

// Faulty is an index whose calls can be made to fail.
type Faulty struct {
	index.Index

	mu    sync.Mutex
	quiet int                                      // how many Undisturbed run; guarded by mu
	calls map[string]int                           // by method; guarded by mu
	fails func(method string, n int) (When, error) // guarded by mu; nil: nothing fails
}

// NewFaulty returns x, of which nothing fails yet.
func NewFaulty(x index.Index) *Faulty { return &Faulty{Index: x, calls: make(map[string]int)} }

// Fail asks fails, from now on, whether the n-th call of a method, counted from
// 1 and from now, fails: with the error that it returns, if that is not nil.
func (f *Faulty) Fail(fails func(method string, n int) (When, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls, f.fails = make(map[string]int), fails
}

// FailAll makes every call of the methods fail, before it happened.
func (f *Faulty) FailAll(methods ...string) {
	f.Fail(func(method string, _ int) (When, error) {
		for _, m := range methods {
			if m == method {
				return Before, ErrInjected
			}
		}
		return Before, nil
	})
}

// Undisturbed runs fn, in which no call fails or is counted.
func (f *Faulty) Undisturbed(fn func()) {
	f.mu.Lock()
	f.quiet++
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.quiet--
	}()
	fn()
}

// Calls returns how often each method has been called since the last Fail.
func (f *Faulty) Calls() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := make(map[string]int, len(f.calls))
	for method, n := range f.calls {
		calls[method] = n
	}
	return calls
}

// do calls fn, unless the call fails before.
func (f *Faulty) do(method string, fn func() error) error {
	when, fault := f.next(method)
	if fault != nil && when != After {
		return fault
	}
	if err := fn(); err != nil || fault == nil {
		return err
	}
	return fault
}

// next counts a call, and reports whether it fails.
func (f *Faulty) next(method string) (When, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.quiet > 0 {
		return Before, nil
	}
	f.calls[method]++
	if f.fails == nil {
		return Before, nil
	}
	return f.fails(method, f.calls[method])
}

// get is do for methods that return something.
func get[T any](f *Faulty, method string, fn func() (T, error)) (T, error) {
	var v T
	err := f.do(method, func() (err error) {
		v, err = fn()
		return err
	})
	if err != nil {
		var none T
		return none, err
	}
	return v, nil
}

func (f *Faulty) Entry(ctx context.Context, repository string, d digest.Digest) (index.Entry, error) {
	return get(f, "Entry", func() (index.Entry, error) { return f.Index.Entry(ctx, repository, d) })
}

func (f *Faulty) Tagged(ctx context.Context, repository, tag string) (index.Entry, error) {
	return get(f, "Tagged", func() (index.Entry, error) { return f.Index.Tagged(ctx, repository, tag) })
}

func (f *Faulty) ByUUID(ctx context.Context, id uuid.UUID, within []string) (index.Entry, error) {
	return get(f, "ByUUID", func() (index.Entry, error) { return f.Index.ByUUID(ctx, id, within) })
}

func (f *Faulty) ByDigest(ctx context.Context, d digest.Digest, within []string, after string, n int) ([]index.Entry, error) {
	return get(f, "ByDigest", func() ([]index.Entry, error) { return f.Index.ByDigest(ctx, d, within, after, n) })
}

func (f *Faulty) List(ctx context.Context, q index.Query, after index.Cursor, n int) (entries []index.Entry, next index.Cursor, err error) {
	err = f.do("List", func() (err error) {
		entries, next, err = f.Index.List(ctx, q, after, n)
		return err
	})
	return entries, next, err
}

func (f *Faulty) Resolve(ctx context.Context, repository, tag string) (digest.Digest, error) {
	return get(f, "Resolve", func() (digest.Digest, error) { return f.Index.Resolve(ctx, repository, tag) })
}

func (f *Faulty) Canonical(ctx context.Context, repository string, d digest.Digest) (digest.Digest, error) {
	return get(f, "Canonical", func() (digest.Digest, error) { return f.Index.Canonical(ctx, repository, d) })
}

func (f *Faulty) Referrers(ctx context.Context, repository string, subject digest.Digest, artifactType string, after digest.Digest, n int) (referrers []image.Referrer, next digest.Digest, err error) {
	referrers, err = get(f, "Referrers", func() ([]image.Referrer, error) {
		referrers, next, err = f.Index.Referrers(ctx, repository, subject, artifactType, after, n)
		return referrers, err
	})
	return referrers, next, err
}

func (f *Faulty) Repositories(ctx context.Context, within []string, after string, n int) ([]string, error) {
	return get(f, "Repositories", func() ([]string, error) { return f.Index.Repositories(ctx, within, after, n) })
}

func (f *Faulty) TagNames(ctx context.Context, repository, after string, n int) ([]string, error) {
	return get(f, "TagNames", func() ([]string, error) { return f.Index.TagNames(ctx, repository, after, n) })
}

func (f *Faulty) MountSource(ctx context.Context, d digest.Digest, within []string) (string, error) {
	return get(f, "MountSource", func() (string, error) { return f.Index.MountSource(ctx, d, within) })
}

func (f *Faulty) Usage(ctx context.Context, namespace string) (index.Usage, error) {
	return get(f, "Usage", func() (index.Usage, error) { return f.Index.Usage(ctx, namespace) })
}

func (f *Faulty) Idle(ctx context.Context, namespace string, blobs []digest.Digest) (int64, error) {
	return get(f, "Idle", func() (int64, error) { return f.Index.Idle(ctx, namespace, blobs) })
}

func (f *Faulty) Adds(ctx context.Context, repository string, blobs map[digest.Digest]int64) (int64, error) {
	return get(f, "Adds", func() (int64, error) { return f.Index.Adds(ctx, repository, blobs) })
}

func (f *Faulty) Stats(ctx context.Context) (index.Stats, error) {
	return get(f, "Stats", func() (index.Stats, error) { return f.Index.Stats(ctx) })
}

func (f *Faulty) State(ctx context.Context, repository string) (index.State, error) {
	return get(f, "State", func() (index.State, error) { return f.Index.State(ctx, repository) })
}

func (f *Faulty) ManifestsAfter(ctx context.Context, repository string, after digest.Digest, n int) ([]digest.Digest, error) {
	return get(f, "ManifestsAfter", func() ([]digest.Digest, error) { return f.Index.ManifestsAfter(ctx, repository, after, n) })
}

func (f *Faulty) TagTime(ctx context.Context, repository, tag string) (time.Time, error) {
	return get(f, "TagTime", func() (time.Time, error) { return f.Index.TagTime(ctx, repository, tag) })
}

func (f *Faulty) AliasesAfter(ctx context.Context, repository string, after digest.Digest, n int) ([]index.Alias, error) {
	return get(f, "AliasesAfter", func() ([]index.Alias, error) { return f.Index.AliasesAfter(ctx, repository, after, n) })
}

func (f *Faulty) LinksAfter(ctx context.Context, repository string, after digest.Digest, n int) ([]image.Blob, error) {
	return get(f, "LinksAfter", func() ([]image.Blob, error) { return f.Index.LinksAfter(ctx, repository, after, n) })
}

func (f *Faulty) TagsAfter(ctx context.Context, repository, after string, n int) ([]index.Tag, error) {
	return get(f, "TagsAfter", func() ([]index.Tag, error) { return f.Index.TagsAfter(ctx, repository, after, n) })
}

func (f *Faulty) Parents(ctx context.Context, repository string, d digest.Digest) ([]digest.Digest, error) {
	return get(f, "Parents", func() ([]digest.Digest, error) { return f.Index.Parents(ctx, repository, d) })
}

func (f *Faulty) Children(ctx context.Context, repository string, d digest.Digest) ([]digest.Digest, error) {
	return get(f, "Children", func() ([]digest.Digest, error) { return f.Index.Children(ctx, repository, d) })
}

func (f *Faulty) Tags(ctx context.Context, repository string, d digest.Digest) ([]string, error) {
	return get(f, "Tags", func() ([]string, error) { return f.Index.Tags(ctx, repository, d) })
}

func (f *Faulty) Aliases(ctx context.Context, repository string, d digest.Digest) ([]digest.Digest, error) {
	return get(f, "Aliases", func() ([]digest.Digest, error) { return f.Index.Aliases(ctx, repository, d) })
}

func (f *Faulty) Linked(ctx context.Context, repository string, d digest.Digest) (size int64, found bool, err error) {
	err = f.do("Linked", func() (err error) {
		size, found, err = f.Index.Linked(ctx, repository, d)
		return err
	})
	return size, found, err
}

func (f *Faulty) Referring(ctx context.Context, repository string, d digest.Digest) ([]digest.Digest, error) {
	return get(f, "Referring", func() ([]digest.Digest, error) { return f.Index.Referring(ctx, repository, d) })
}

// Recall and Remember cannot fail; one that fails is not found, or lost.
func (f *Faulty) Recall(d digest.Digest) (parts image.Parts, found bool) {
	_ = f.do("Recall", func() error { parts, found = f.Index.Recall(d); return nil })
	return parts, found
}

func (f *Faulty) Remember(d digest.Digest, parts image.Parts) {
	_ = f.do("Remember", func() error { f.Index.Remember(d, parts); return nil })
}

// Acquire gives a lease back that nobody was told of, as one that expires.
func (f *Faulty) Acquire(ctx context.Context, repository string) (index.Lease, error) {
	var l index.Lease
	err := f.do("Acquire", func() (err error) {
		l, err = f.Index.Acquire(ctx, repository)
		return err
	})
	if err != nil && l.Fence != 0 {
		err = errors.Join(err, f.Index.Release(ctx, l))
	}
	return l, err
}

func (f *Faulty) Prepare(ctx context.Context, l index.Lease, intent storage.Intent) error {
	return f.do("Prepare", func() error { return f.Index.Prepare(ctx, l, intent) })
}

func (f *Faulty) Publish(ctx context.Context, l index.Lease, u index.Update) (index.Revision, error) {
	return get(f, "Publish", func() (index.Revision, error) { return f.Index.Publish(ctx, l, u) })
}

func (f *Faulty) Changes(ctx context.Context, after index.Revision, n int) ([]index.Change, error) {
	return get(f, "Changes", func() ([]index.Change, error) { return f.Index.Changes(ctx, after, n) })
}

func (f *Faulty) Listed(ctx context.Context, repository string, digests []digest.Digest) ([]index.Entry, error) {
	return get(f, "Listed", func() ([]index.Entry, error) { return f.Index.Listed(ctx, repository, digests) })
}

func (f *Faulty) History(ctx context.Context, repository string, before index.Revision, n int) (changes []index.Change, next index.Revision, err error) {
	err = f.do("History", func() (err error) {
		changes, next, err = f.Index.History(ctx, repository, before, n)
		return err
	})
	return changes, next, err
}

func (f *Faulty) Pushed(ctx context.Context, repository, tag string) (index.Push, error) {
	return get(f, "Pushed", func() (index.Push, error) { return f.Index.Pushed(ctx, repository, tag) })
}

func (f *Faulty) AddPulls(ctx context.Context, pulls []index.Pulls) error {
	return f.do("AddPulls", func() error { return f.Index.AddPulls(ctx, pulls) })
}

func (f *Faulty) Pulls(ctx context.Context, repository string, d digest.Digest) (index.Pulls, error) {
	return get(f, "Pulls", func() (index.Pulls, error) { return f.Index.Pulls(ctx, repository, d) })
}

func (f *Faulty) Trim(ctx context.Context, keep int64, before time.Time, n int) (bool, error) {
	return get(f, "Trim", func() (bool, error) { return f.Index.Trim(ctx, keep, before, n) })
}

// Release frees the repository also where it fails: a lease expires.
func (f *Faulty) Release(ctx context.Context, l index.Lease) error {
	released := f.Index.Release(ctx, l)
	return errors.Join(f.do("Release", func() error { return nil }), released)
}

func (f *Faulty) Link(ctx context.Context, repository string, blobs map[digest.Digest]int64, reservation string, written func(error)) error {
	when, fault := f.next("Link")
	switch {
	case fault == nil:
		return f.Index.Link(ctx, repository, blobs, reservation, written)
	case when == Late && written != nil:
		written(fault)
		return nil
	case when == After:
		return errors.Join(fault, f.Index.Link(ctx, repository, blobs, reservation, nil))
	}
	return fault
}

func (f *Faulty) MarkDirty(ctx context.Context, repository string) error {
	return f.do("MarkDirty", func() error { return f.Index.MarkDirty(ctx, repository) })
}

func (f *Faulty) ClearDirty(ctx context.Context, repository string) error {
	return f.do("ClearDirty", func() error { return f.Index.ClearDirty(ctx, repository) })
}

func (f *Faulty) Reserve(ctx context.Context, namespace string, r storage.Reservation) (index.Usage, error) {
	return get(f, "Reserve", func() (index.Usage, error) { return f.Index.Reserve(ctx, namespace, r) })
}

func (f *Faulty) Abandoned(ctx context.Context) iter.Seq2[storage.Intent, error] {
	return func(yield func(storage.Intent, error) bool) {
		if err := f.do("Abandoned", func() error { return nil }); err != nil {
			yield(storage.Intent{}, err)
			return
		}
		f.Index.Abandoned(ctx)(yield)
	}
}

func (f *Faulty) Close() error { return f.do("Close", f.Index.Close) }
