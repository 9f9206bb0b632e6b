package stored

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/berth-oci/berth/catalog"
	"github.com/berth-oci/berth/catalog/bolt"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
)

// TestStored wants the same answers of an index that is written, and of one
// that is built from the files of the same images.
func TestStored(t *testing.T) {
	const images = 130
	ctx := context.Background()
	written, read := t.TempDir(), t.TempDir()
	if err := Index(ctx, written, images, func(int) {}); err != nil {
		t.Fatal(err)
	}
	if err := Files(ctx, read, images, func(int) {}); err != nil {
		t.Fatal(err)
	}
	x, err := bolt.Open(filepath.Join(written, "catalog.db"), open(t, written).Identity())
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	store := open(t, read)
	built, err := bolt.Build(filepath.Join(read, "catalog.db"), store.Identity(), func(x *bolt.Index) error {
		all := catalog.New(x, store, slog.New(slog.DiscardHandler))
		return errors.Join(all.Rebuild(ctx, func(catalog.Progress) {}), all.Close())
	})
	if err != nil {
		t.Fatal(err)
	}
	defer built.Close()

	got, want := entries(t, x), entries(t, built)
	if len(got) != images {
		t.Fatalf("the index has %d images, want %d", len(got), images)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the index that was written differs from the one built from files, whose first is\n%+v\nand not\n%+v", want[0], got[0])
	}
	for n := range images {
		i := Of(images, n)
		e, err := x.Tagged(ctx, i.Repository, i.Tag)
		if err != nil || e.Digest != i.Digest {
			t.Errorf("%s:%s is %s (%v), want %s", i.Repository, i.Tag, e.Digest, err, i.Digest)
		}
		if e, err := x.ByUUID(ctx, uuid.MustParse(i.UUID()), nil); err != nil || e.Digest != i.Digest {
			t.Errorf("%s is %s (%v), want %s", i.UUID(), e.Digest, err, i.Digest)
		}
	}
	if ten, _, err := x.List(ctx, index.Query{Within: []string{"ten"}}, "", images); err != nil || len(ten) != PerRepository {
		t.Errorf("the namespace of ten has %d: %v", len(ten), err)
	}
}

// entries lists an index.
func entries(t *testing.T, x *bolt.Index) (all []index.Entry) {
	t.Helper()
	for after := index.Cursor(""); ; {
		some, next, err := x.List(context.Background(), index.Query{}, after, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range some {
			slices.Sort(e.Tags)
			all = append(all, e)
		}
		if after = next; after == "" {
			return all
		}
	}
}

// open opens the storage of a data folder.
func open(t *testing.T, data string) *storage.Store {
	t.Helper()
	s, err := storage.Open(context.Background(), "filesystem", map[string]any{"rootdirectory": filepath.Join(data, "storage")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}
