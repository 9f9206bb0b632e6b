package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func testImage(n, version int, tags ...string) Image {
	return Image{
		UUID: fmt.Sprintf("6ba7b810-9dad-11d1-80b4-00c04fd4%04d", n), CreatedAt: time.Unix(int64(n), 0).UTC(), Tags: tags, Size: int64(version),
		URL: fmt.Sprintf("h/alice/app%d@sha256:%04d", n%3, n), Platforms: []Platform{{Digest: fmt.Sprintf("sha256:p%04d", n/2)}},
	}
}

func told(t *testing.T, kind string, revision int, images []Image, gone ...GoneImage) string {
	t.Helper()
	text, err := json.Marshal(Change{Type: ChangeType(kind), Revision: map[bool]string{true: fmt.Sprint("s.", revision), false: ""}[revision > 0], Images: images, Gone: gone})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestWatchLists: after whatever was missed, handlers are told the difference alone,
// and what is shown is what they were told.
func TestWatchLists(t *testing.T) {
	truth := map[string]Image{}
	revision, rounds := 1, 0
	// Each connection lists, tells of some changes, and ends with 410 or cut off; what
	// happens between lists is told by nobody.
	c := streaming(t, func(w http.ResponseWriter, r *http.Request) {
		rounds++
		change := func() (Image, bool) {
			image := testImage(rand.N(30), rand.N(3), []string{}...)
			if rand.N(3) == 0 {
				_, there := truth[image.UUID]
				delete(truth, image.UUID)
				return image, !there
			}
			truth[image.UUID] = image
			return image, true
		}
		for range rand.N(20) {
			change()
		}
		var lines []string
		for _, image := range truth {
			lines = append(lines, told(t, "image", 0, []Image{image}))
		}
		for range rand.N(10) {
			image, _ := change()
			revision++
			if _, there := truth[image.UUID]; there {
				lines = append(lines, told(t, "push", revision, []Image{image}))
			} else {
				lines = append(lines, told(t, "delete", revision, nil, GoneImage{image.UUID, image.Digest()}))
			}
		}
		whole := rounds%3 != 0
		if whole {
			lines = append(lines, told(t, "bookmark", revision, nil))
		}
		lines = append(lines, `{"type":"end","status":410,"reason":"gone","message":"x"}`)
		ndjson(w, lines...)
	})
	seen, ctx := map[string]Image{}, t.Context()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var w *Watcher
	syncs := 0
	w = c.Watch(WatchOptions{
		OnAdd: func(i Image) {
			if _, there := seen[i.UUID]; there {
				t.Errorf("%s comes twice", i.UUID)
			}
			seen[i.UUID] = i
		},
		OnUpdate: func(before, now Image) {
			if seen[now.UUID].Size != before.Size || before.Size == now.Size {
				t.Errorf("from %+v to %+v, which was %+v", before, now, seen[now.UUID])
			}
			seen[now.UUID] = now
		},
		OnDelete: func(i Image) {
			if _, there := seen[i.UUID]; !there {
				t.Errorf("%s goes twice", i.UUID)
			}
			delete(seen, i.UUID)
		},
		OnSync: func(at string) {
			if syncs++; at != fmt.Sprint("s.", revision) || !w.HasSynced() {
				t.Errorf("synced at %s", at)
			}
			wantShown(t, w, truth)
			if !maps.EqualFunc(seen, truth, func(a, b Image) bool { return a.Size == b.Size }) {
				t.Errorf("handlers were told %v, and it is %v", seen, truth)
			}
			if syncs == 20 {
				cancel()
			}
		},
	})
	if w.HasSynced() {
		t.Error("has synced before it has begun")
	}
	if err := w.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := w.WaitForSync(t.Context()); err != nil || syncs != 20 {
		t.Errorf("%d times, %v", syncs, err)
	}
}

func wantShown(t *testing.T, w *Watcher, truth map[string]Image) {
	t.Helper()
	all := w.Images()
	if len(all) != len(truth) || !slices.IsSortedFunc(all, byName) {
		t.Errorf("shows %d of %d", len(all), len(truth))
	}
	for _, image := range all {
		if truth[image.UUID].Size != image.Size {
			t.Errorf("shows %+v, and it is %+v", image, truth[image.UUID])
		}
	}
}

// TestWatchEnds with what no list mends.
func TestWatchEnds(t *testing.T) {
	status := 0
	c := streaming(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
	for _, status = range []int{400, 401, 404} {
		var e *Error
		w := c.Watch(WatchOptions{})
		if err := w.Run(t.Context()); !errors.As(err, &e) || e.Status != status {
			t.Errorf("%d: %v", status, err)
		}
	}
	status = http.StatusGone
	enough := errors.New("enough")
	tries := 0
	w := c.Watch(WatchOptions{OnRetry: func(err error, _ time.Duration) error {
		if tries++; !IsGone(err) || tries == 3 {
			return enough
		}
		return nil
	}})
	if err := w.Run(t.Context()); !errors.Is(err, enough) || tries != 3 {
		t.Errorf("%d: %v", tries, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.WaitForSync(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestHeld finds images by every name, also while tags move.
func TestHeld(t *testing.T) {
	h := newHeld()
	one, two := testImage(0, 0, "v1", "latest"), testImage(3, 0)
	official := testImage(4, 0, "latest")
	official.URL = "index.h/official/nginx@sha256:0004"
	for _, image := range []Image{one, two, official} {
		h.put(image)
	}
	// The tag moves, told in either order.
	moved, left := testImage(3, 0, "latest"), testImage(0, 0, "v1")
	for _, order := range [][]Image{{moved, left}, {left, moved}, {one, two}, {two, one}, {moved, left}} {
		for _, image := range order {
			h.put(image)
		}
		want := order[0].UUID
		if !slices.Contains(order[0].Tags, "latest") {
			want = order[1].UUID
		}
		if got, ok := h.get("alice/app0"); !ok || got.UUID != want {
			t.Errorf("latest is %s, want %s", got.UUID, want)
		}
	}
	for name, want := range map[string]Image{
		"alice/app0:v1": left, "alice/app0:latest": moved, "alice/app0@sha256:0003": moved, "sha256:0000": left, "sha256:p0000": left, "alice/app0@sha256:p0001": moved,
		strings.ToUpper(one.UUID): left, "nginx": official, "official/nginx:latest": official, "nginx@sha256:0004": official,
	} {
		if got, ok := h.get(name); !ok || got.UUID != want.UUID {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for _, name := range []string{"", "alice/app0:v2", "alice/app1", "alice/app1@sha256:0003", "sha256:9", "6ba7b810-9dad-11d1-80b4-00c04fd49999"} {
		if got, ok := h.get(name); ok {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for _, image := range []Image{one, two, official, one} {
		h.remove(image.UUID)
	}
	if len(h.images)+len(h.tagged)+len(h.named)+len(h.digests) != 0 {
		t.Errorf("is left: %+v", h)
	}
}
