package local

import (
	"context"
	"errors"
	"testing"
)

// TestOneChangeAtATime checks that a change waits for those of the same path, and
// of what is above and below it, and for no other.
func TestOneChangeAtATime(t *testing.T) {
	for _, test := range []struct {
		first, second []string
		waits         bool
	}{
		{[]string{"a/b"}, []string{"a/b"}, true},
		{[]string{"a/b/c"}, []string{"a/b"}, true},
		{[]string{"a/b"}, []string{"a/b/c/d"}, true},
		{[]string{"x", "a/b"}, []string{"y", "a/b"}, true},
		{[]string{"a/b"}, []string{"a/bc"}, false},
		{[]string{"a/bc"}, []string{"a/b"}, false},
		{[]string{"a/b", "x"}, []string{"a/c", "y"}, false},
	} {
		c := newChanges()
		first, err := c.begin(t.Context(), test.first...)
		if err != nil {
			t.Fatal(err)
		}
		ended, end := context.WithCancel(t.Context())
		end()
		second, err := c.begin(ended, test.second...)
		if got := errors.Is(err, context.Canceled); got != test.waits {
			t.Errorf("%v waits for %v: %t, want %t", test.second, test.first, got, test.waits)
		}
		if err == nil {
			c.end(second)
		}
		c.end(first)
		if again, err := c.begin(t.Context(), test.second...); err != nil || len(c.open) != len(test.second) {
			t.Errorf("%v cannot be changed after %v: %v", test.second, test.first, err)
		} else {
			c.end(again)
		}
	}
}

// TestTogetherInOrder checks that what is done together is done in its order: what
// is there already counts only if it is not taken away first.
func TestTogetherInOrder(t *testing.T) {
	m := newMemory()
	d := openHeld(t, &held{memory: m}, 0)
	put(t, d, "/docker/a/link", "same")
	put(t, d, "/docker/b/link", "other")
	err := d.Together(t.Context(), func(ctx context.Context) error {
		return errors.Join(
			d.Delete(ctx, "/docker/a"), d.PutContent(ctx, "/docker/a/link", []byte("same")),
			d.PutContent(ctx, "/docker/b/link", []byte("new")), d.Delete(ctx, "/docker/b"),
		)
	})
	if err != nil {
		t.Fatal(err)
	}
	wantContent(t, d, "/docker/a/link", "same")
	if _, err := d.Stat(t.Context(), "/docker/b/link"); !isMissing(err) {
		t.Errorf("what was deleted last is there: %v", err)
	}
	survives(t, m, "/docker/a/link", "same")
	survives(t, m, "/docker/b/link", "")
}
