package indextest

import (
	"errors"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// testTagTimes: a tag has the time that came with it, to the nanosecond, until it
// is set again or goes.
func testTagTimes(t *testing.T, o Options) {
	x, ctx := o.open(t), t.Context()
	one, other := dgst("one"), dgst("other")
	want := func(tag string, at time.Time) {
		t.Helper()
		got, err := x.TagTime(ctx, "a/b", tag)
		if at.IsZero() {
			if !errors.Is(err, index.ErrNotFound) {
				t.Fatalf("%s, which is not there, was set at %v, %v", tag, got, err)
			}
			return
		}
		if err != nil || !got.Equal(at) || got.Location() != time.UTC {
			t.Fatalf("%s was set at %v, %v, want %v", tag, got, err, at)
		}
		tags, err := x.TagsAfter(ctx, "a/b", "", 10)
		if err != nil || len(tags) == 0 || tags[0].Name == tag && !tags[0].Moved.Equal(at) {
			t.Fatalf("along the tags are %v, %v", tags, err)
		}
	}
	first, second := time.Unix(1_700_000_000, 123_456_789), time.Unix(1_800_000_000, 1)
	publish(t, x, change{"a/b", index.Update{
		Put: []image.Description{{Digest: one}, {Digest: other}},
		Tag: map[string]digest.Digest{"v1": one, "v2": one}, Moved: map[string]time.Time{"v1": first, "v2": first},
	}})
	want("v1", first)
	want("v3", time.Time{})
	for _, u := range []index.Update{
		{Tag: map[string]digest.Digest{"v1": other}},              // moved
		{Tag: map[string]digest.Digest{"v1": other}},              // read again
		{Tag: map[string]digest.Digest{"v1": other}, By: "alice"}, // pushed again
		{Tag: map[string]digest.Digest{"v1": other}, By: "alice"}, // once more
	} {
		second = second.Add(time.Hour)
		u.Moved = map[string]time.Time{"v1": second}
		if u.By != "" {
			u.At = second.UTC()
		}
		publish(t, x, change{"a/b", u})
		want("v1", second)
		if got, err := x.Resolve(ctx, "a/b", "v1"); err != nil || got != other {
			t.Fatalf("v1 is %s, %v", got, err)
		}
		if tags, err := x.Tags(ctx, "a/b", other); err != nil || len(tags) != 1 {
			t.Fatalf("the tags are %v, %v", tags, err)
		}
	}
	want("v2", first)
	publish(t, x, change{"a/b", index.Update{Untag: []string{"v1"}, Delete: []digest.Digest{one}}})
	want("v1", time.Time{})
	want("v2", time.Time{})
}
