package scale

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
)

// tenant pushes small images as fast as it can, until it is told to stop, and
// notes how long each push took.
type tenant struct {
	stop   atomic.Bool
	done   sync.WaitGroup
	mu     sync.Mutex
	pushes []time.Duration // guarded by mu
}

func newTenant(tb testing.TB, b *harness.Berth) *tenant {
	p := &tenant{}
	c := harness.NewClient(b.URL)
	p.done.Go(func() {
		for i := 0; !p.stop.Load(); i++ {
			begin := time.Now()
			if _, err := c.Push("bob/app", "v", harness.NewImage("k", fmt.Sprint(i))); err != nil {
				tb.Errorf("another tenant's push: %v", err)
				return
			}
			p.mu.Lock()
			p.pushes = append(p.pushes, time.Since(begin))
			p.mu.Unlock()
			time.Sleep(2 * time.Millisecond)
		}
	})
	tb.Cleanup(p.end)
	return p
}

func (p *tenant) end() { p.stop.Store(true); p.done.Wait() }

// since returns the slowest push, the median, and how many there were, since it
// was asked last.
func (p *tenant) since() (slowest, median time.Duration, n int) {
	time.Sleep(50 * time.Millisecond) // what is under way belongs to it
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.pushes
	p.pushes = nil
	if len(all) == 0 {
		return 0, 0, 0
	}
	return quantile(all, 1), quantile(all, .5), len(all)
}

// BenchmarkSharedChild has one tenant push and delete what is shared as widely
// as can be, while another pushes small images: what that one waits at worst is
// the figure. Nothing is asserted, for a busy machine makes all of it worse.
//
//	go test -v -bench SharedChild -benchtime 1x -run '^$' ./test/scale
func BenchmarkSharedChild(b *testing.B) {
	const indexes, children = 120, 6001
	for b.Loop() {
		s := harness.Start(b, harness.WithArgs("--log-level", "warn"))
		c := harness.NewClient(s.URL)
		c.HTTP.Timeout = 5 * time.Minute
		image := harness.NewImage("k", "child")
		for _, blob := range image.Blobs {
			if err := c.PushBlob("alice/app", blob); err != nil {
				b.Fatal(err)
			}
		}
		other := newTenant(b, s)
		other.since()
		time.Sleep(2 * time.Second)
		step := func(what string, fn func() error) {
			begin := time.Now()
			if err := fn(); err != nil {
				b.Fatalf("%s: %v", what, err)
			}
			took := time.Since(begin)
			slowest, median, n := other.since()
			b.Logf("%s took %v; of %d other pushes the median took %v, the slowest %v", what, took.Round(time.Millisecond), n,
				median.Round(time.Millisecond), slowest.Round(time.Millisecond))
		}
		step("nothing", func() error { return nil })
		child := harness.Describe(harness.OCIManifest, image.Manifest)
		index := func(i int) []byte {
			all := []harness.Descriptor{child}
			for n := range children - 1 {
				all = append(all, harness.Descriptor{MediaType: harness.OCIManifest, Digest: fmt.Sprintf("sha256:%064x", n), Size: int64(i)})
			}
			return harness.IndexOf(all...)
		}
		step("pushing the first index", func() error {
			return c.PushManifest("alice/app", harness.Digest(index(0)), harness.OCIIndex, index(0))
		})
		step("pushing the others", func() error {
			for i := 1; i < indexes; i++ {
				if err := c.PushManifest("alice/app", harness.Digest(index(i)), harness.OCIIndex, index(i)); err != nil {
					return err
				}
			}
			return nil
		})
		step("pushing the child", func() error {
			return c.PushManifest("alice/app", child.Digest, harness.OCIManifest, image.Manifest)
		})
		remove := func(digest string) func() error {
			return func() error {
				_, err := c.Want(202, "DELETE", "/v2/alice/app/manifests/"+digest, nil)
				return err
			}
		}
		step("deleting the child", remove(child.Digest))
		step("deleting an index", remove(harness.Digest(index(0))))

		// An index whose children are all there, and its alone.
		var own []harness.Descriptor
		step("pushing children", func() error {
			for i := range children {
				body := harness.ManifestOf(harness.Describe(harness.OCIConfig, image.Blobs[0]).Marked("n", fmt.Sprint(i)), harness.Describe(harness.OCILayer, image.Blobs[1]))
				own = append(own, harness.Describe(harness.OCIManifest, body))
				if err := c.PushManifest("alice/app", harness.Digest(body), harness.OCIManifest, body); err != nil {
					return err
				}
			}
			return nil
		})
		all := harness.IndexOf(own...)
		step("pushing their index", func() error {
			return c.PushManifest("alice/app", harness.Digest(all), harness.OCIIndex, all)
		})
		step("deleting their index", remove(harness.Digest(all)))
		other.end()
	}
}

// TestSharedByTooMany pushes an index whose child as many share as may: it is
// refused, and says why.
func TestSharedByTooMany(t *testing.T) {
	t.Parallel()
	const most = 1000
	s := newStore(t, 10)
	child := harness.Descriptor{MediaType: harness.OCIManifest, Digest: harness.NoDigest, Size: 1}
	sharing := func(i int) []byte { return harness.IndexOf(child.Marked("n", fmt.Sprint(i))) }
	for i := range most {
		s.blob(t, sharing(i))
		s.link(t, "repositories/alice/app/_manifests/revisions", harness.Digest(sharing(i)))
	}
	s.serve(t)
	push := func(repository string, i int) *harness.Answer {
		a, err := s.c.Do("PUT", "/v2/"+repository+"/manifests/v1", sharing(i), "Content-Type", harness.OCIIndex)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	a := push("alice/app", most)
	if a.Status != 400 || !strings.Contains(string(a.Body), `"code":"MANIFEST_INVALID","message":"1000 indexes of this repository refer to sha256:0000`) {
		t.Errorf("one more: %d %s", a.Status, a.Body)
	}
	if a := push("alice/app", 0); a.Status != 201 {
		t.Errorf("one that is there: %d %s", a.Status, a.Body)
	}
	if a := push("alice/other", most); a.Status != 201 {
		t.Errorf("in another repository: %d %s", a.Status, a.Body)
	}
}
