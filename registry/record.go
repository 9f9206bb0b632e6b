package registry

import (
	"context"
	"errors"
	"io/fs"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/storage"
)

// record is what the hook and the handler of one request tell each other:
// between them is distribution, which passes on only a context, and has room
// for few errors.
type record struct {
	// push is the manifest on its way in, nil for other requests.
	push *push
	// err is why the request failed, if distribution would tell the client
	// something else.
	err error
	// discard is the upload whose remains are to be removed, once distribution
	// has let go of it.
	discard string
	// status is that of an error that was answered, 0 for none.
	status int
}

// push is a manifest on its way in.
type push struct {
	tx Tx
	// as is another digest under which the client pushes, and tags are the tags
	// that it sets.
	as   digest.Digest
	tags []string
	// document is what the manifest says.
	document image.Document
	// key is under what room is set aside for it in its namespace, "" for none.
	namespace, key string
	released       func(namespace, key string)
}

// end is called once the push is over, in whichever way.
func (p *push) end() {
	p.tx.Close()
	p.released(p.namespace, p.key)
}

type recordKey struct{}

// withRecord gives a request its record.
func withRecord(ctx context.Context, r *record) context.Context {
	return context.WithValue(ctx, recordKey{}, r)
}

// recordOf is the request's record, or one that nobody looks at.
func recordOf(ctx context.Context) *record {
	if r, ok := ctx.Value(recordKey{}).(*record); ok {
		return r
	}
	return &record{}
}

// note records err in the context's record, since distribution drops its code,
// and returns it. Errors that distribution knows itself are left to it.
func note(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if r := recordOf(ctx); r.err == nil && ours(err) {
		r.err = err
	}
	return err
}

// ours reports whether an error is berth's, the storage driver's or the
// operating system's: distribution would call it something unknown.
func ours(err error) bool {
	var known *storage.Error
	var one *problem
	var passing *tooMany
	var several *problems
	var driver storagedriver.Error
	var file *fs.PathError
	return errors.As(err, &known) || errors.As(err, &one) || errors.As(err, &passing) || errors.As(err, &several) ||
		errors.As(err, &driver) || errors.As(err, &file) || storage.CodeOf(err) == storage.Full
}
