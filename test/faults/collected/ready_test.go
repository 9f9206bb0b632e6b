package collected

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/berth-oci/berth/storage/collect"
)

// TestNotReady: while storage is not what it was, nothing is taken away.
func TestNotReady(t *testing.T) {
	w := newWorld(t, options{})
	w.upload(one, layer)
	w.pass(2 * lease)
	moved := errors.New("the folder was moved")
	c := collect.New(collect.Options{
		Catalog: w.catalog, Store: w.store, Lease: lease, Rate: 1 << 30, Operations: 1 << 30, Log: slog.New(slog.DiscardHandler),
		Ready: func(context.Context) error { return moved },
	})
	if freed, err := c.Sweep(t.Context(), nil); !errors.Is(err, moved) || freed != (collect.Freed{}) {
		t.Errorf("a sweep took %+v, %v", freed, err)
	}
	if c.Status().Error == "" {
		t.Error("the status does not say so")
	}
	if freed := w.sweep(); freed.Links != 1 {
		t.Errorf("then %+v went", freed)
	}
}
