package indextest

import (
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// testOrphans: what lived by something that is gone is idle, unless it has a life
// of its own.
func testOrphans(t *testing.T, o Options) {
	x := newIdling(t, o, 0)
	describe := func(name string, u image.Description) image.Description {
		u.Digest, u.Size = dgst(name), 1
		return u
	}
	put := func(d image.Description, tags ...string) {
		u := index.Update{Put: []image.Description{d}, Tag: map[string]digest.Digest{}}
		for _, tag := range tags {
			u.Tag[tag] = d.Digest
		}
		x.publish("a/one", u)
	}
	orphan := func(names ...string) {
		u := index.Update{}
		for _, name := range names {
			u.Orphan = append(u.Orphan, dgst(name))
		}
		x.publish("a/one", u)
	}
	parent := describe("index", image.Description{Children: []digest.Digest{dgst("child")}})
	child := describe("child", image.Description{})
	referrer := describe("referrer", image.Description{})
	referrer.Subject = dgst("subject")
	put(parent)
	put(child)
	put(describe("subject", image.Description{}))
	put(referrer)
	orphan("child", "referrer", "n")
	x.want("both live", index.IdleManifest)
	x.remove("a/one", "index")
	x.remove("a/one", "subject")
	x.want("nobody said so", index.IdleManifest)
	x.now += time.Hour
	orphan("child", "referrer")
	x.now += time.Hour
	orphan("child", "referrer")
	x.want("left behind", index.IdleManifest, "a/one:child 120", "a/one:referrer 120")
	if err := x.Renew(t.Context(), "a/one", dgst("child")); err != nil {
		t.Fatal(err)
	}
	x.want("renewed", index.IdleManifest, "a/one:referrer 120", "a/one:child 180")
	for _, c := range []struct {
		before time.Duration
		want   bool
	}{{120 * time.Minute, false}, {121 * time.Minute, true}} {
		if is, err := x.IsIdle(t.Context(), "a/one", dgst("referrer"), index.Uptime(c.before)); err != nil || is != c.want {
			t.Fatalf("idle before %s: %v, %v", c.before, is, err)
		}
	}
	put(parent)
	x.want("the index is back", index.IdleManifest, "a/one:referrer 120")
	put(describe("subject", image.Description{}))
	x.want("the subject is back", index.IdleManifest)
	x.remove("a/one", "index")
	x.remove("a/one", "subject")
	orphan("child", "referrer")
	put(child, "tag")
	x.want("tagged", index.IdleManifest, "a/one:referrer 180")
	orphan("child")
	x.want("it has a tag", index.IdleManifest, "a/one:referrer 180")
	put(referrer)
	x.want("pushed again", index.IdleManifest)
	orphan("referrer")
	x.remove("a/one", "referrer")
	x.want("gone", index.IdleManifest)
}
