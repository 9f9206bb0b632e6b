package catalog

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestAlong walks along random names, and wants each once, in order, with what is
// known of it.
func TestAlong(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		stored, known := make(map[string]bool), make(map[string]bool)
		for range r.IntN(60) {
			stored[fmt.Sprint(r.IntN(99))] = true
		}
		for range r.IntN(60) {
			known[fmt.Sprint(r.IntN(99))] = true
		}
		names := slices.Sorted(maps.Keys(known))
		next := func(after string) ([]string, error) {
			i, found := slices.BinarySearch(names, after)
			if found {
				i++
			}
			return names[i:min(i+1+r.IntN(3), len(names))], nil
		}
		last, seen := "", 0
		for f, err := range along(sorted(stored), func(s string) string { return s }, next) {
			if err != nil || f.name <= last && seen > 0 || (f.known != nil) != known[f.name] || f.known == nil && !stored[f.name] {
				t.Fatalf("seed %d: %+v after %q, %v", seed, f, last, err)
			}
			last = f.name
			seen++
		}
		all := maps.Clone(stored)
		maps.Copy(all, known)
		if seen != len(all) {
			t.Fatalf("seed %d: %d names, want %d", seed, seen, len(all))
		}
	}
}

// TestAlongFails: an error of either side ends the walk.
func TestAlongFails(t *testing.T) {
	boom := errors.New("boom")
	some := func(yield func(string, error) bool) { _ = yield("a", nil) && yield("", boom) }
	for name, c := range map[string]struct {
		stored iter.Seq2[string, error]
		next   func(string) ([]string, error)
	}{
		"stored":         {some, func(string) ([]string, error) { return nil, nil }},
		"known":          {sorted(map[string]bool{"a": true}), func(string) ([]string, error) { return nil, boom }},
		"nothing stored": {sorted(nil), func(string) ([]string, error) { return nil, boom }},
	} {
		var failed error
		for _, err := range along(c.stored, func(s string) string { return s }, c.next) {
			if failed != nil {
				t.Fatalf("%s: it goes on after an error", name)
			}
			failed = err
		}
		if !errors.Is(failed, boom) {
			t.Errorf("%s: %v", name, failed)
		}
	}
}

func sorted(names map[string]bool) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, name := range slices.Sorted(maps.Keys(names)) {
			if !yield(name, nil) {
				return
			}
		}
	}
}
