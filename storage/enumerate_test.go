package storage

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
)

// shuffled is a folder that tells its names in an order of its own.
type shuffled struct {
	names  []string
	passes int
}

func (s *shuffled) Each(_ context.Context, path string, fn func(string) error) error {
	if path != "/folder" {
		return storagedriver.PathNotFoundError{Path: path}
	}
	s.passes++
	for _, name := range s.names {
		if err := fn(name); err != nil {
			return err
		}
	}
	return nil
}

// TestNamesAreHeldInPieces: a folder of many names is enumerated in order, and read
// as often as it takes to hold few of them.
func TestNamesAreHeldInPieces(t *testing.T) {
	for _, many := range []int{0, 1, heldNames, heldNames + 1, 2 * heldNames, 5*heldNames + 7} {
		l := &shuffled{}
		for i := range many {
			l.names = append(l.names, fmt.Sprintf("%08x", i*7919))
		}
		want := slices.Sorted(slices.Values(l.names))
		rand.New(rand.NewPCG(1, 2)).Shuffle(many, func(i, j int) { l.names[i], l.names[j] = l.names[j], l.names[i] })
		s := &Store{lister: l}
		var got []string
		for name, err := range s.names(t.Context(), "/folder") {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("of %d names, %d came, or in another order", many, len(got))
		}
		if least := max(1, (many+heldNames-1)/heldNames); l.passes != least {
			t.Errorf("of %d names, the folder was read %d times, want %d", many, l.passes, least)
		}
		for range s.names(t.Context(), "/folder") {
			break // who has enough stops
		}
	}
	for name, err := range (&Store{lister: &shuffled{}}).names(t.Context(), "/absent") {
		t.Errorf("a folder that is not there has %q, %v", name, err)
	}
}
