package images

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/registry/access"
)

// Told is a change as [GET /v1/changes] tells it.
type Told struct {
	Revision   index.Revision
	Type       index.ChangeType
	Time       time.Time
	Repository string
	// Data is the object.
	Data json.RawMessage
}

// Teller tells changes to whom no request names: it sees everything that a filter lets
// through, and what is for administrators alone is left out. Its methods are safe for
// concurrent use.
type Teller struct {
	call   *call
	filter *filter
}

const (
	// toldBytes is how much is told at once, roughly, and toldScanned how many
	// changes are looked at for it.
	toldBytes   = 256 << 10
	toldScanned = 4096
)

// NewTeller returns one; of the options it takes those that say by which name the
// registry is known, above all PublicHost. Namespaces and repositories are as in the
// query of [GET /v1/changes], but as many as there are; none limit nothing, nor do no
// types. The error is of a repository that is none.
func NewTeller(c Catalog, opts Options, namespaces, repositories []string, types []index.ChangeType) (*Teller, error) {
	named, err := byEitherName(repositories)
	if err != nil {
		return nil, err
	}
	return &Teller{
		call:   &call{handler: &handler{catalog: c, opts: opts}, r: &http.Request{Host: opts.PublicHost}, caller: access.Everyone()},
		filter: newFilter(nil, changesQuery{namespaces: namespaces, repositories: named, types: types}),
	}, nil
}

// After returns changes after a revision that the filter lets through, in order, at
// most n, and how far it has come: the given revision if nothing came after it. There
// may be none before the end. [index.ErrRevision] says that it cannot go on from the
// revision.
func (t *Teller) After(ctx context.Context, since index.Revision, n int) (all []Told, next index.Revision, err error) {
	next = since
	for scanned, bytes := 0, 0; scanned < toldScanned && bytes < toldBytes; {
		changes, err := t.call.catalog.Changes(ctx, next, readChanges)
		if err != nil || len(changes) == 0 {
			return all, next, err
		}
		for i := range changes {
			if len(all) == n || bytes >= toldBytes {
				return all, next, nil
			}
			if t.filter.passes(&changes[i]) {
				one, err := t.tell(ctx, &changes[i])
				if err != nil {
					return nil, since, err
				}
				all = append(all, one)
				bytes += len(one.Data)
			}
			next = changes[i].Revision
		}
		scanned += len(changes)
	}
	return all, next, nil
}

func (t *Teller) tell(ctx context.Context, change *index.Change) (Told, error) {
	c, err := t.call.tell(ctx, change)
	if err != nil {
		return Told{}, err
	}
	data, err := formJSON.frame(c)
	return Told{change.Revision, change.Type, change.Time, change.Repository, data}, err
}
