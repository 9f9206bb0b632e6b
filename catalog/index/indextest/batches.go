package indextest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// testReferrers reads referrers with large annotations, batch by batch: each
// comes once, as it was published, and no batch is larger than it may be.
func testReferrers(t *testing.T, o Options) {
	const repo, large = "alice/app", 20
	x, subject := o.open(t), dgst("subject")
	var put []image.Description
	for i := range large {
		put = append(put, image.Description{
			Digest: dgst(fmt.Sprint(i)), Size: int64(i), Subject: subject, MediaType: "m", ArtifactType: fmt.Sprint("type", i%2),
			Annotations: map[string]string{"<n>": fmt.Sprint(i), "padding": strings.Repeat("x", index.BatchBytes/2)},
		})
	}
	put = append(put, image.Description{Digest: dgst("plain"), Size: large, Subject: subject, ArtifactType: "plain"})
	publish(t, x, change{repo, index.Update{Put: put}})
	read := func(artifactType string, n int) (all []image.Referrer, batches int) {
		t.Helper()
		for after, first := digest.Digest(""), true; first || after != ""; first = false {
			found, next, err := x.Referrers(t.Context(), repo, subject, artifactType, after, n)
			if err != nil {
				t.Fatal(err)
			}
			size := 0
			for _, r := range found[:max(len(found)-1, 0)] {
				size += len(r.Annotations)
			}
			if len(found) > n || size >= index.BatchBytes {
				t.Fatalf("a batch of %d, of %d bytes without its last", len(found), size)
			}
			all, after, batches = append(all, found...), next, batches+1
		}
		return all, batches
	}
	for _, n := range []int{1, 3, 100} {
		all, batches := read("", n)
		if len(all) != len(put) || batches < large/3 || !slices.IsSortedFunc(all, func(a, b image.Referrer) int { return strings.Compare(string(a.Digest), string(b.Digest)) }) {
			t.Fatalf("%d referrers in %d batches of %d, want %d in order", len(all), batches, n, len(put))
		}
		for _, r := range all {
			want := put[r.Size]
			var annotations map[string]string
			if r.Annotations != nil && json.Unmarshal(r.Annotations, &annotations) != nil || annotations["<n>"] != want.Annotations["<n>"] ||
				len(annotations) != len(want.Annotations) || r.Digest != want.Digest || r.MediaType != want.MediaType || r.ArtifactType != want.ArtifactType {
				t.Fatalf("got %.200s %+.200v, want %.200v", r.Digest, r.ArtifactType, want)
			}
		}
		if odd, _ := read("type1", n); len(odd) != large/2 {
			t.Fatalf("%d of a type, want %d", len(odd), large/2)
		}
	}
	if none, batches := read("none", 1); len(none) != 0 || batches != 1 {
		t.Fatalf("%d of a type that none has, in %d batches", len(none), batches)
	}
	publish(t, x, change{repo, index.Update{Delete: []digest.Digest{put[0].Digest}}})
	if all, _ := read("", 100); len(all) != large {
		t.Fatalf("%d referrers are left, want %d", len(all), large)
	}
}

// testBatches reads images that are large, each in one repository or all with
// one digest: every batch is bounded, and nothing is lost between two.
func testBatches(t *testing.T, o Options) {
	const count = 20
	x, shared := o.open(t), dgst("shared")
	for i := range count {
		large := imageAt(at(i))
		large.Env = map[string]string{"padding": strings.Repeat("x", index.BatchBytes/2)}
		repo := fmt.Sprintf("alice/%02d", i)
		publish(t, x, change{repo, index.Update{Put: []image.Description{{Digest: shared, Image: large}}}})
	}
	bounded := func(batch []index.Entry) int {
		t.Helper()
		if len(batch) > 2 {
			t.Fatalf("a batch of %d images, each of half of what a batch may have", len(batch))
		}
		return len(batch)
	}
	for _, q := range []index.Query{{}, {ByTime: true}, {ByTime: true, Descending: true}, {Within: []string{"alice"}}} {
		n := 0
		for cursor, first := index.Cursor(""), true; first || cursor != ""; first = false {
			batch, next, err := x.List(t.Context(), q, cursor, 100)
			if err != nil {
				t.Fatal(err)
			}
			n, cursor = n+bounded(batch), next
		}
		if n != count {
			t.Fatalf("%+v: %d images, want %d", q, n, count)
		}
	}
	n := 0
	for after := ""; ; {
		batch, err := x.ByDigest(t.Context(), shared, nil, after, 100)
		if err != nil {
			t.Fatal(err)
		}
		if n += bounded(batch); len(batch) == 0 {
			break
		}
		after = batch[len(batch)-1].Repository
	}
	if n != count {
		t.Fatalf("%d images with a digest, want %d", n, count)
	}
}
