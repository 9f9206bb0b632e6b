package catalog

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
)

// errNothingLinked ends what is done together without an effect.
var errNothingLinked = errors.New("nothing has been linked")

// Link runs op, which links one blob in storage by the digest that it is named,
// and maybe by its canonical one as well, and publishes what came of it: when it
// returns without an error, the next answer has it. op changes storage with the
// context that it gets, so that all of it happens at once where that can be, and
// returns the blob's canonical digest, "" if it has linked nothing; with an error
// nothing is to be kept. An error of op is returned as it is. reservation, if it
// is not "", is what was set aside for the blob in the namespace (see
// [index.Index] Reserve); it ends in the instant in which the blob counts. Blobs
// of one repository are linked side by side; only one that a manifest refers to
// already waits for a change that is open.
func (c *Catalog) Link(ctx context.Context, repository string, named digest.Digest, reservation string, op func(context.Context) (digest.Digest, error)) error {
	var note *storage.Note
	var linked digest.Digest
	touched := false
	err := c.store.Together(ctx, func(ctx context.Context) (err error) {
		if note, err = c.store.NoteLink(ctx, repository, named); err != nil {
			return err
		}
		touched = true
		if linked, err = op(ctx); err == nil && linked == "" {
			touched, err = false, errNothingLinked
		}
		return err
	})
	switch {
	case !touched:
		note.Forget()
		if errors.Is(err, errNothingLinked) {
			return nil
		}
		return err
	case linked == "":
		linked = named
	}
	// What has happened in storage is published also if the client is gone; with an
	// error it may be about to happen.
	w := c.awaitWritten(note, linked)
	failure := c.store.DoOwed()
	if failure == nil {
		failure = c.relinkAll(context.WithoutCancel(ctx), repository, linked, named, reservation, w.one)
	}
	if w.done(failure); failure != nil {
		return cmp.Or(err, failed("index blob "+linked.String()+" of", repository, failure))
	}
	return err
}

// awaited is a link that the index shows, and may not have written yet. It counts
// what it waits for.
type awaited struct {
	catalog *Catalog
	note    *storage.Note
	linked  digest.Digest

	mu     sync.Mutex
	left   int
	failed bool
}

func (c *Catalog) awaitWritten(note *storage.Note, linked digest.Digest) *awaited {
	c.linking.Add(1)
	return &awaited{catalog: c, note: note, linked: linked, left: 1}
}

// one is what is to be called once the index has written one of the digests.
func (a *awaited) one() (written func(error)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.left++
	return a.done
}

// done says that a part has ended. With the last one the note is of no use any
// more, or, if one has failed, the blob is looked up again.
func (a *awaited) done(err error) {
	a.mu.Lock()
	a.left--
	a.failed = a.failed || err != nil
	over, failed := a.left == 0, a.failed
	a.mu.Unlock()
	switch {
	case !over:
		return
	case failed:
		a.catalog.leave(a.note, a.linked)
	default:
		a.note.Forget()
	}
	a.catalog.linking.Done()
}

// awaitLinks waits until the index has written all links, for some time: of those
// that it cannot write, the notes stay.
func (c *Catalog) awaitLinks() {
	const patience = 5 * time.Second
	written := make(chan struct{})
	go func() {
		c.linking.Wait()
		close(written)
	}()
	select {
	case <-written:
	case <-time.After(patience):
		c.log.Warn("links are not written in the index; the next start looks at them")
	}
}

// relinkAll makes the index say of a blob what storage says, by its canonical
// digest and by the one that it was named.
// one gives out what is told once that is written.
func (c *Catalog) relinkAll(ctx context.Context, repository string, linked, named digest.Digest, reservation string, one func() func(error)) error {
	err := c.relink(ctx, repository, linked, reservation, one)
	if err == nil && named != linked {
		err = c.relink(ctx, repository, named, "", one)
	}
	return err
}

// relink makes the index say of one blob what storage says. One that is linked
// already has come again, and counts again if it did not.
func (c *Catalog) relink(ctx context.Context, repository string, dgst digest.Digest, reservation string, one func() func(error)) error {
	if c.store.Settling(dgst) {
		// A blob that has just been healed may be about to be taken off the index,
		// by a change that has still seen it missing: it is looked at after that.
		if err := c.relinkAlone(ctx, repository, dgst, ""); err != nil {
			return err
		}
	}
	change, _, err := c.linkChange(ctx, repository, dgst)
	if err != nil {
		return err
	}
	if len(change.Link) > 0 {
		written := one()
		err := c.index.Link(ctx, repository, change.Link, reservation, written)
		if err == nil {
			return nil
		}
		written(nil) // nobody else will
		if !errors.Is(err, index.ErrReferenced) {
			return err
		}
	}
	if len(change.Link)+len(change.Unlink) == 0 {
		return nil
	}
	return c.relinkAlone(ctx, repository, dgst, reservation)
}

// relinkAlone does the same within a change of its own.
func (c *Catalog) relinkAlone(ctx context.Context, repository string, dgst digest.Digest, reservation string) error {
	tx, err := c.Begin(ctx, repository)
	if err != nil {
		return err
	}
	defer tx.Close()
	return tx.relink(ctx, dgst, reservation)
}

// relink makes the index say of one blob what storage says, and describes the
// manifests that refer to the blob again. It leaves alone what the index says already.
func (t *Tx) relink(ctx context.Context, dgst digest.Digest, reservation string) error {
	change, known, err := t.catalog.linkChange(ctx, t.lease.Repository, dgst)
	if err != nil || known {
		return err
	}
	referring, err := t.referring(ctx, change)
	if err != nil {
		return err
	}
	change.Reservation = reservation
	p := publication{tx: t, last: change}
	return p.describeAll(ctx, referring, "")
}

// linkChange is what the index must be told of a blob, and whether it says so
// already.
func (c *Catalog) linkChange(ctx context.Context, repository string, dgst digest.Digest) (change index.Update, known bool, err error) {
	was, linked, err := c.index.Linked(ctx, repository, dgst)
	if err != nil {
		return change, false, err
	}
	size, err := c.linkedSize(ctx, repository, dgst, was, linked)
	switch {
	case notFound(err) && linked:
		change.Unlink = []digest.Digest{dgst}
		return change, false, nil
	case notFound(err):
		return change, true, nil
	case err != nil:
		return change, false, err
	}
	change.Link = map[digest.Digest]int64{dgst: size}
	return change, linked && was == size, nil
}
