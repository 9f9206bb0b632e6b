package collected

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-oci/berth/storage/collect"
	"github.com/berth-oci/berth/storage/scrub"
	"github.com/berth-oci/berth/test/harness"
)

// TestSoak has 16 clients push, pull, mount, delete, re-tag and refer while there is
// collection and scrub without a pause: none of them ever sees an error or misses a
// blob. In the end, exactly what is reachable is stored.
//
// The time is the test's own: it goes on by more than half a lease as soon as every
// client has begun something new since it last did, so that nobody is slower than the
// lease, and whatever is left alone for two steps of a client may go.
func TestSoak(t *testing.T) {
	t.Parallel()
	const plain = 12 // steps of each
	last, least := time.Duration(0), plain
	switch {
	case harness.Required("soak"):
		last = 10 * time.Minute
	case harness.Required("collect"):
		last = 40 * time.Second
	}
	w := newWorld(t, options{driver: "filesystem", quarantine: lease / 2})
	s := newSoak(t, w)
	scrubber := scrub.Start(scrub.Options{
		Store: w.store, State: filepath.Join(t.TempDir(), "scrub.json"), Rate: 1 << 30, Operations: 1 << 10, Interval: time.Second,
		Log: slog.New(slog.DiscardHandler),
	})
	freed := s.run(last, least)
	w.must(scrubber.Close())
	if t.Failed() {
		return
	}
	steps := 0
	for _, c := range s.clients {
		steps += c.steps
	}
	t.Logf("%d steps of %d clients, %d sweeps; %d links, %d manifests, %d blobs and %d bytes went, %d were in use; the time went on %d times",
		steps, len(s.clients), s.sweeps, freed.Links, freed.Manifests, freed.Swept.Count, freed.Bytes(), freed.Busy, s.ticks.Load())
	if freed.Bytes() == 0 || freed.Links == 0 {
		t.Error("nothing was freed while they worked")
	}
	s.wantExactly()
}

// soak is what the clients share.
type soak struct {
	*world
	clients []*client
	layers  []string
	begun   []atomic.Int64 // by client: how often the time had gone on when it began what it does
	ticks   atomic.Int64
	sweeps  int
	failed  atomic.Bool
}

func newSoak(t *testing.T, w *world) *soak {
	const clients, layers = 16, 48
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	s := &soak{world: w, begun: make([]atomic.Int64, clients)}
	rnd := rand.New(rand.NewPCG(seed, 0))
	for i := range layers {
		s.layers = append(s.layers, fmt.Sprintf("layer %d %s", i, strings.Repeat("x", rnd.IntN(32<<10))))
	}
	for i := range clients {
		s.clients = append(s.clients, &client{
			soak: s, number: i, rnd: rand.New(rand.NewPCG(seed, uint64(i)+1)), images: map[string]string{},
		})
	}
	return s
}

// run has everybody work for a while, so many steps at least, and returns what went meanwhile.
func (s *soak) run(last time.Duration, least int) (freed collect.Freed) {
	end := time.Now().Add(last)
	var clients sync.WaitGroup
	for _, c := range s.clients {
		clients.Go(func() {
			for ; (c.steps < least || time.Now().Before(end)) && !s.failed.Load(); c.steps++ {
				s.begun[c.number].Store(s.ticks.Load())
				if err := c.step(); err != nil {
					s.failed.Store(true)
					s.t.Errorf("client %d, step %d: %v", c.number, c.steps, err)
				}
			}
			s.begun[c.number].Store(1 << 60) // it waits for nothing more
		})
	}
	done := make(chan struct{})
	go func() {
		clients.Wait()
		close(done)
	}()
	for {
		s.sweeps++
		if _, err := s.collector.Sweep(context.Background(), nil); err != nil && s.catalog.Settled(context.Background()) == nil {
			s.failed.Store(true)
			s.t.Errorf("a sweep ended: %v", err)
		}
		s.tick()
		select {
		case <-done:
			return s.collector.Status().Total
		case <-time.After(time.Millisecond): // one that finds nothing is not to keep a processor busy
		}
	}
}

// tick lets time go by, if everybody has begun something since it last did.
func (s *soak) tick() {
	now := s.ticks.Load()
	for i := range s.begun {
		if s.begun[i].Load() < now {
			return
		}
	}
	s.pass(lease * 6 / 10)
	s.ticks.Add(1)
}

// wantExactly lets the lease and the quarantine pass, and wants exactly those bytes
// to be stored that a manifest is made of or refers to, and every image to be whole.
func (s *soak) wantExactly() {
	s.t.Helper()
	s.settled()
	for range 6 {
		s.pass(2 * lease)
		s.sweep()
	}
	s.check()
	reachable := map[string]int64{}
	for after := ""; ; {
		repositories, err := s.index.Repositories(s.t.Context(), nil, after, 100)
		s.must(err)
		if len(repositories) == 0 {
			break
		}
		for _, repository := range repositories {
			state, err := s.index.State(s.t.Context(), repository)
			s.must(err)
			for d := range state.Manifests {
				answer := s.want(http.StatusOK, "GET", "/v2/"+repository+"/manifests/"+d.String(), "", "Accept", imageType+","+indexType)
				m := answer.Body.String()
				reachable[d.String()] = int64(len(m))
				for _, blob := range blobsOf(m) {
					reachable[blob] = state.Links[digestOf(blob)]
				}
			}
		}
		after = repositories[len(repositories)-1]
	}
	for _, c := range s.clients {
		for tag, m := range c.images {
			got := s.want(http.StatusOK, "GET", "/v2/"+c.own()+"/manifests/"+tag, "", "Accept", imageType+","+indexType)
			if !bytes.Equal(got.Body.Bytes(), []byte(m)) {
				s.t.Errorf("%s:%s is %s, want %s", c.own(), tag, got.Body, m)
			}
		}
	}
	stored := map[string]int64{}
	root := filepath.Join(s.dir, "storage", "docker/registry/v2/blobs/sha256")
	s.must(filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			stored["sha256:"+filepath.Base(filepath.Dir(path))] = info.Size()
		}
		return err
	}))
	if !maps.Equal(stored, reachable) {
		s.t.Errorf("%d blobs with %d bytes are stored, and %d with %d bytes are reachable",
			len(stored), total(stored), len(reachable), total(reachable))
	}
	s.wantStoredElsewhere()
	s.t.Logf("in the end %d blobs with %d bytes are reachable and stored", len(stored), total(stored))
}

// wantStoredElsewhere wants the quarantine to be empty.
func (s *soak) wantStoredElsewhere() {
	s.t.Helper()
	left, err := filepath.Glob(filepath.Join(s.dir, "storage", "berth/collected/sha256/*/*"))
	s.must(err)
	if len(left) > 0 {
		s.t.Errorf("the quarantine holds %q", left)
	}
}

func total(sizes map[string]int64) (bytes int64) {
	for _, n := range sizes {
		bytes += n
	}
	return bytes
}
