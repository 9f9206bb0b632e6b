package registry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/config/size"
	"github.com/berth-oci/berth/storage"
	"github.com/berth-oci/berth/storage/reference"
)

// quotas keeps namespaces within what they may store, and within how much may be
// waiting to be collected of what they have deleted.
//
// What is stored, the catalog counts (see [storage.Usage]). What is on its way in
// has its room set aside there before: an upload what it has received, under its
// ID; a manifest, a mount or a further digest what it will add, under a key of
// its own. Either ends in the instant in which what it was for counts as stored.
type quotas struct {
	limit   func(namespace string) int64 // in bytes; 0: none
	catalog Catalog
	// uploads is how many may be open in a namespace, and uncollected how many
	// bytes in one that has a quota; 0: any.
	uploads     int64
	uncollected int64
	refused     func(Refusal)
	open        openUploads
}

// Refusal is why a push was refused for what its namespace has already.
type Refusal string

// The reasons, as metrics name them.
const (
	OverQuota       Refusal = "quota"
	TooManyUploads  Refusal = "open_uploads"
	TooMuchToGo     Refusal = "uncollected"
	uploadRetry             = "30"  // seconds
	collectionRetry         = "300" // seconds
)

// Refusals are all of them.
var Refusals = []Refusal{OverQuota, TooManyUploads, TooMuchToGo}

// holdFor is how long room stays set aside of which nothing is heard. That of
// uploads is renewed as long as they are there, see sweep.
const holdFor = 4 * sweepEvery

func newQuotas(o Options) *quotas {
	q := &quotas{
		catalog: o.Catalog, uploads: int64(o.OpenUploads), uncollected: o.Uncollected, refused: o.Refused,
		limit: func(namespace string) int64 {
			account, ok := o.Accounts.Current().Account(namespace)
			if !ok {
				return 0
			}
			return account.Quota
		},
	}
	if q.refused == nil {
		q.refused = func(Refusal) {}
	}
	return q
}

// exceeded is what a client is told, in words that nobody takes for a lack of
// rights. u is what the namespace has.
func (q *quotas) exceeded(namespace string, u storage.Usage, limit, needed int64) error {
	q.refused(OverQuota)
	return &storage.Error{Code: storage.Quota, Message: fmt.Sprintf(
		"the storage quota of %s would be exceeded: %s of %s used (%s stored, %s by uploads that are not finished), %s more needed; delete images that are no longer wanted, or ask for a larger quota",
		namespace, size.Text(u.Used()), size.Text(limit), size.Text(u.Bytes), size.Text(u.Reserved), size.Text(needed))}
}

// tooMany is what a client is told that has left too many uploads open.
func (q *quotas) tooMany(namespace string, open int64) error {
	q.refused(TooManyUploads)
	return notNow(uploadRetry,
		"%s has %d uploads that are not finished, of %d that it may have: finish or cancel some, or wait until they are removed",
		namespace, open, q.uploads)
}

func notNow(retryAfter, format string, args ...any) error {
	return &tooMany{problem{http.StatusTooManyRequests, "TOOMANYREQUESTS", fmt.Sprintf(format, args...)}, retryAfter}
}

// pushable returns an error if nothing may be pushed to a namespace because too
// much of what it deleted is not yet collected, or, for an upload that begins,
// because too many are open. The former is what makes a quota bound storage: where
// there is none, it would only stop who may store any amount.
func (q *quotas) pushable(ctx context.Context, namespace string, begins bool) error {
	u, err := q.catalog.Usage(ctx, namespace)
	switch {
	case err != nil:
		return err
	case q.uncollected > 0 && q.limit(namespace) > 0 && u.Uncollected > q.uncollected:
		q.refused(TooMuchToGo)
		return notNow(collectionRetry,
			"%s that nothing refers to any more in %s is not yet collected, and no more than %s may wait for that: until then nothing can be pushed; pulling and deleting go on",
			size.Text(u.Uncollected), namespace, size.Text(q.uncollected))
	case begins && q.uploads > 0 && u.Reservations >= q.uploads:
		return q.tooMany(namespace, u.Reservations)
	}
	return nil
}

// set sets aside so many bytes for key, of which it has some already, or returns
// an error if there is no room for them.
func (q *quotas) set(ctx context.Context, namespace string, r storage.Reservation, has int64) error {
	r.Limit, r.Until = -1, time.Now().Add(holdFor)
	limit := q.limit(namespace)
	if limit > 0 {
		r.Limit = limit
	}
	others, err := q.catalog.Reserve(ctx, namespace, r)
	switch {
	case err == nil:
		return nil
	case storage.CodeOf(err) == storage.TooMany:
		return q.tooMany(namespace, others.Reservations)
	case storage.CodeOf(err) == storage.Quota:
		others.Reserved += has
		return q.exceeded(namespace, others, limit, r.Bytes-has)
	}
	return err
}

// begin sets aside what an upload counts that has received nothing, or returns an
// error if too many are open in the namespace, or there is no room for one.
func (q *quotas) begin(ctx context.Context, repository, id string) error {
	r := storage.Reservation{Key: id, Bytes: storage.MinCounted, Most: q.uploads}
	if err := q.set(ctx, reference.Namespace(repository), r, 0); err != nil {
		return err
	}
	q.open.note(repository, id, 0)
	return nil
}

// receive sets aside what an upload has and so many bytes more, or returns an
// error if there is no room for them. In a namespace without a quota that is
// counted only when the upload is resumed.
func (q *quotas) receive(ctx context.Context, repository, id string, has, more int64) error {
	namespace := reference.Namespace(repository)
	if q.limit(namespace) == 0 {
		return nil
	}
	r := storage.Reservation{Key: id, Bytes: storage.Counted(has + more)}
	if err := q.set(ctx, namespace, r, has); err != nil {
		return err
	}
	q.open.note(repository, id, has+more)
	return nil
}

// resumed notes how far an upload has come that goes on, or may: it may have come
// further in a request that is under way.
func (q *quotas) resumed(ctx context.Context, repository, id string, bytes int64) error {
	has, _ := q.open.bytes(repository, id)
	bytes = max(bytes, has)
	q.open.note(repository, id, bytes)
	return q.counts(ctx, storage.Upload{Repository: repository, ID: id}, bytes)
}

// counts sets aside what an upload has received, whatever there is room for.
func (q *quotas) counts(ctx context.Context, u storage.Upload, bytes int64) error {
	_, err := q.catalog.Reserve(context.WithoutCancel(ctx), reference.Namespace(u.Repository), storage.Reservation{
		Key: u.ID, Bytes: storage.Counted(bytes), Limit: -1, Until: time.Now().Add(holdFor),
	})
	return err
}

// fits returns an error if an upload cannot take so many bytes more, however many
// that are. id is "" for one that has not begun.
func (q *quotas) fits(ctx context.Context, repository, id string, more int64) error {
	namespace := reference.Namespace(repository)
	limit := q.limit(namespace)
	if limit == 0 || more <= 0 {
		return nil
	}
	u, err := q.catalog.Usage(ctx, namespace)
	if err != nil {
		return err
	}
	has, begun := q.open.bytes(repository, id)
	others := u.Used()
	if begun {
		others -= storage.Counted(has)
	}
	if more > limit-others-has {
		return q.exceeded(namespace, u, limit, more)
	}
	return nil
}

// hold sets aside what something will add that comes at once, and returns the
// key under which it did, "" if nothing is added. In a namespace without a quota
// nothing is set aside.
func (q *quotas) hold(ctx context.Context, namespace string, bytes int64) (key string, err error) {
	if bytes <= 0 || q.limit(namespace) == 0 {
		return "", nil
	}
	key = rand.Text()
	if err := q.set(ctx, namespace, storage.Reservation{Key: key, Bytes: bytes}, 0); err != nil {
		return "", err
	}
	return key, nil
}

// released ends what was set aside under a key, if it has not ended by itself.
func (q *quotas) released(ctx context.Context, namespace, key string) error {
	if key == "" {
		return nil
	}
	_, err := q.catalog.Reserve(context.WithoutCancel(ctx), namespace, storage.Reservation{Key: key})
	return err
}

// ended notes that an upload has become a blob, or nothing.
func (q *quotas) ended(ctx context.Context, repository, id string) error {
	q.open.forget(repository, id)
	return q.released(ctx, reference.Namespace(repository), id)
}

// used is what counts against a namespace's quota.
func (q *quotas) used(ctx context.Context, namespace string) (int64, error) {
	u, err := q.catalog.Usage(ctx, namespace)
	return u.Used(), err
}

// admit makes room for what a manifest adds to its namespace, or returns an
// error. The push ends what was set aside, see push.end.
func (q *quotas) admit(ctx context.Context, repository string, bytes int64, dgst digest.Digest, in *push) (err error) {
	in.namespace = reference.Namespace(repository)
	if q.limit(in.namespace) == 0 {
		return nil
	}
	needed, err := q.adds(ctx, repository, bytes, dgst, in)
	if err == nil {
		in.key, err = q.hold(ctx, in.namespace, needed)
	}
	return err
}

// adds is how many bytes a manifest of so many would add to its namespace: its
// own, its names, and the blobs that do not count at the moment.
func (q *quotas) adds(ctx context.Context, repository string, bytes int64, dgst digest.Digest, in *push) (int64, error) {
	needed, err := q.catalog.Idle(ctx, reference.Namespace(repository), in.document.BlobDigests())
	if err != nil {
		return 0, err
	}
	for d, counts := range map[digest.Digest]int64{dgst: storage.Counted(bytes), in.as: storage.MinCounted} {
		if d == "" {
			continue
		}
		if _, err := q.catalog.Canonical(ctx, repository, d); errors.Is(err, storage.ErrNotFound) {
			needed += counts
		} else if err != nil {
			return 0, err
		}
	}
	for _, tag := range in.tags {
		if _, err := in.tx.Resolve(ctx, tag); errors.Is(err, storage.ErrNotFound) {
			needed += storage.MinCounted
		} else if err != nil {
			return 0, err
		}
	}
	return needed, nil
}
