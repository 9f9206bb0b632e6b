package main

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/bolt"
	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/images"
	"github.com/berth-oci/berth/catalog/images/client"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/catalog/webhook"
	"github.com/berth-oci/berth/config"
)

// indexOnly is a catalog of an index, without storage.
type indexOnly struct{ *bolt.Index }

// TagTime knows none.
func (indexOnly) TagTime(context.Context, string, string) (time.Time, error) {
	return time.Time{}, index.ErrNotFound
}

// push publishes an image.
func (x indexOnly) push(t *testing.T, repository, tag string) index.Revision {
	t.Helper()
	l, err := x.Acquire(t.Context(), repository)
	if err != nil {
		t.Fatal(err)
	}
	d := digest.FromString(tag)
	revision, err := x.Publish(t.Context(), l, index.Update{
		Put: []image.Description{{Digest: d, Image: &image.Image{Created: time.Unix(7, 0), Kernel: true, Platforms: []image.Platform{}}}},
		Tag: map[string]digest.Digest{tag: d}, At: time.Now(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Release(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	return revision
}

// TestChangeTypes: the configuration knows nothing of the index, and names its types
// of changes all the same.
func TestChangeTypes(t *testing.T) {
	var all []string
	for _, one := range index.ChangeTypes {
		all = append(all, string(one))
	}
	if !slices.Equal(config.ChangeTypes, all) {
		t.Errorf("the configuration has %v, the index %v", config.ChangeTypes, all)
	}
}

// TestWebhookBehindRetention: a receiver that was away for longer than changes are kept
// is told to list again, and gets all that comes after the revision that it is told;
// meanwhile the metrics say that it has fallen behind.
func TestWebhookBehindRetention(t *testing.T) {
	t.Parallel()
	const secret = "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY="
	built, err := bolt.Build(filepath.Join(t.TempDir(), "catalog.db"), "test", func(*bolt.Index) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	x := indexOnly{built}
	t.Cleanup(func() { _ = x.Close() })
	var down atomic.Bool
	var mu sync.Mutex
	var told []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e, err := client.ReadEvent(r, secret)
		if err != nil {
			t.Error(err)
		}
		if down.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		text := string(e.Change.Type) + " " + e.Change.Revision
		for _, tag := range e.Change.Tags {
			text = string(e.Change.Type) + " " + e.Change.Repository + ":" + tag.Name
		}
		told = append(told, text)
	}))
	t.Cleanup(server.Close)
	h, err := hookOf(x, images.Options{PublicHost: "h"}, "ci", &config.Webhook{URL: server.URL, Secret: secret, Namespaces: config.Names{"alice"}})
	if err != nil {
		t.Fatal(err)
	}
	begin := x.Last().String()
	s, err := webhook.Start(webhook.Options{
		Hooks: []webhook.Hook{h}, State: filepath.Join(t.TempDir(), cursorsFile), Source: "/v1/changes", Policy: webhook.Policy{Inside: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		Shortest: time.Millisecond, Longest: 5 * time.Millisecond, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	want := func(all ...string) {
		t.Helper()
		holds := func() bool {
			mu.Lock()
			defer mu.Unlock()
			return slices.Equal(told, all)
		}
		for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("told %v, want %s", told, strings.Join(all, ", "))
			}
		}
	}
	first := func(n int) []string {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			mu.Lock()
			some := slices.Clone(told)
			mu.Unlock()
			if len(some) >= n {
				return some[:n]
			}
		}
		t.Fatalf("told %v, want %d", told, n)
		return nil
	}
	want("resync " + begin)
	x.push(t, "alice/app", "v1")
	want("resync "+begin, "push alice/app:v1")
	down.Store(true)
	for _, tag := range []string{"v2", "v3", "v4", "v5", "v6"} {
		x.push(t, "alice/app", tag)
		x.push(t, "bob/app", tag)
	}
	for s.Status(t.Context())[0].Failed == 0 {
		time.Sleep(time.Millisecond)
	}
	if got := s.Status(t.Context())[0]; got.Behind != 10 || got.FailingSince.IsZero() {
		t.Errorf("got %+v", got)
	}
	for more := true; more; {
		if more, err = x.Trim(t.Context(), 3, time.Time{}, 100); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.Status(t.Context())[0]; got.Behind != -1 {
		t.Errorf("got %+v", got)
	}
	again := x.Last().String()
	down.Store(false)
	// What it had read before that was trimmed it may tell; then it has missed nothing.
	missed := []string{"resync " + again}
	if told := first(3); !strings.HasPrefix(told[2], "resync") {
		missed = []string{"push alice/app:v2", "push alice/app:v3", "push alice/app:v4", "push alice/app:v5", "push alice/app:v6"}
	}
	so := slices.Concat([]string{"resync " + begin, "push alice/app:v1"}, missed)
	want(so...)
	x.push(t, "bob/app", "v7")
	x.push(t, "alice/app", "v7")
	want(append(so, "push alice/app:v7")...)
}
