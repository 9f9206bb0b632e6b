// Package scale compares a small store with a large one.
package scale

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berth-oci/berth/test/harness"
)

// store is a storage folder that was written directly, as the embedded
// registry lays it out, and the berth that serves it.
type store struct {
	dir    string // the data folder
	root   string
	made   map[string]bool // folders
	images []storedImage

	b *harness.Berth
	c *harness.Client
}

type storedImage struct{ repository, tag, digest string }

const perRepository = 10

// newStore writes images, ten in each repository, ten repositories in each
// namespace; but the last repository is alone in the namespace ten.
func newStore(tb testing.TB, images int) *store {
	tb.Helper()
	s := &store{dir: tb.TempDir(), made: map[string]bool{}}
	s.root = filepath.Join(s.dir, "storage/docker/registry/v2")
	base := harness.NewImage("kernel", "scale")
	for _, blob := range base.Blobs {
		s.blob(tb, blob)
	}
	var manifest map[string]any
	if err := json.Unmarshal(base.Manifest, &manifest); err != nil {
		tb.Fatal(err)
	}
	for i := range images {
		n := i / perRepository
		repository := fmt.Sprintf("ns%03d/app%d", n/10, n%10)
		if i >= images-perRepository {
			repository = "ten/app"
		}
		manifest["annotations"] = map[string]string{"number": fmt.Sprint(i)}
		child := harness.JSON(manifest)
		index := harness.IndexOf(harness.Describe(harness.OCIManifest, child))
		s.blob(tb, child)
		s.blob(tb, index)
		folder := "repositories/" + repository + "/"
		for _, blob := range base.Blobs {
			s.link(tb, folder+"_layers", harness.Digest(blob))
		}
		s.link(tb, folder+"_manifests/revisions", harness.Digest(child))
		s.link(tb, folder+"_manifests/revisions", harness.Digest(index))
		tag := fmt.Sprintf("v%d", i%perRepository)
		s.link(tb, folder+"_manifests/tags/"+tag+"/index", harness.Digest(index))
		s.file(tb, folder+"_manifests/tags/"+tag+"/current/link", []byte(harness.Digest(index)))
		s.images = append(s.images, storedImage{repository, tag, harness.Digest(index)})
	}
	return s
}

func (s *store) blob(tb testing.TB, content []byte) {
	hex := strings.TrimPrefix(harness.Digest(content), "sha256:")
	s.file(tb, "blobs/sha256/"+hex[:2]+"/"+hex+"/data", content)
}

func (s *store) link(tb testing.TB, folder, digest string) {
	s.file(tb, folder+"/"+strings.Replace(digest, ":", "/", 1)+"/link", []byte(digest))
}

func (s *store) file(tb testing.TB, path string, content []byte) {
	path = filepath.Join(s.root, path)
	dir := filepath.Dir(path)
	if !s.made[dir] {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			tb.Fatal(err)
		}
		s.made[dir] = true
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		tb.Fatal(err)
	}
}

// serve starts berth on the store and returns how long that took: it makes the
// index first.
func (s *store) serve(tb testing.TB) time.Duration {
	begin := time.Now()
	s.b = harness.Start(tb, harness.WithData(s.dir), harness.WithArgs("--log-level", "warn"))
	s.c = harness.NewClient(s.b.URL)
	return time.Since(begin)
}

// questions are the questions whose cost must not depend on how much there is.
var questions = []struct {
	name string
	ask  func(storedImage) (path, body string)
	want int // how many images the answer has
}{
	{"tag", func(i storedImage) (string, string) {
		return "/v1/images", fmt.Sprintf(`{"tag":"%s:%s"}`, i.repository, i.tag)
	}, 1},
	{"digest", func(i storedImage) (string, string) {
		return "/v1/images", fmt.Sprintf(`{"digest":"%s@%s"}`, i.repository, i.digest)
	}, 1},
	{"bare-digest", func(i storedImage) (string, string) { return "/v1/images", `{"digest":"` + i.digest + `"}` }, 1},
	{"uuid", func(i storedImage) (string, string) {
		return "/v1/images?uuid=" + uuid.NewSHA1(uuid.NameSpaceURL, []byte("oci://"+i.repository+"@"+i.digest)).String(), ""
	}, 1},
	{"namespace-of-ten", func(storedImage) (string, string) { return "/v1/images?namespace=ten", "" }, 10},
}

// measured are what many requests of one kind took.
type measured struct {
	server, client []time.Duration
	cpu            time.Duration
}

// measure sends n requests of a kind about random images.
func (s *store) measure(tb testing.TB, kind, n int, f *measured) {
	tb.Helper()
	k := questions[kind]
	cpu := s.b.CPU()
	for range n {
		path, body := k.ask(s.images[rand.IntN(len(s.images))])
		begin := time.Now()
		a, err := s.c.Want(http.StatusOK, http.MethodGet, path, body)
		took := time.Since(begin)
		if err != nil {
			tb.Fatal(err)
		}
		var answer struct {
			Data   struct{ Images []json.RawMessage }
			OpTime int64 `json:"op_time_us"`
		}
		if err := json.Unmarshal(a.Body, &answer); err != nil || len(answer.Data.Images) != k.want {
			tb.Fatalf("%s: %d images, want %d (%v) in %s", k.name, len(answer.Data.Images), k.want, err, a.Body)
		}
		f.server = append(f.server, time.Duration(answer.OpTime)*time.Microsecond)
		f.client = append(f.client, took)
	}
	f.cpu += s.b.CPU() - cpu
}

func quantile(all []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// whole reads the list of everything.
func (s *store) whole(tb testing.TB) (images int, bytes int, took time.Duration) {
	begin := time.Now()
	a, err := s.c.Want(http.StatusOK, http.MethodGet, "/v1/images", nil)
	if err != nil {
		tb.Fatal(err)
	}
	return strings.Count(string(a.Body), `"uuid":`), len(a.Body), time.Since(begin)
}

// TestStore keeps the benchmark below from rotting.
func TestStore(t *testing.T) {
	t.Parallel()
	s := newStore(t, 20)
	s.serve(t)
	for kind := range questions {
		s.measure(t, kind, 5, &measured{})
	}
	if images, _, _ := s.whole(t); images != 20 {
		t.Errorf("the whole list has %d images, want 20", images)
	}
	// What was written by hand is what the registry itself reads.
	for _, i := range s.images {
		if d, err := s.c.DigestOf(i.repository, i.tag); err != nil || d != i.digest {
			t.Errorf("%s:%s is %s (%v), want %s", i.repository, i.tag, d, err, i.digest)
		}
	}
	harness.CompareRebuilt(t, s.b)
}

// BenchmarkScale compares few images with a hundred times as many, side by
// side in one run. Its figures are metrics and log lines; nothing is asserted,
// for a busy machine makes all of them worse. Without -v the log is cut.
//
//	go test -v -bench Scale -run '^$' ./test/scale
func BenchmarkScale(b *testing.B) {
	const few, many, block, blocks = 200, 20_000, 200, 10
	var stores []*store
	var built time.Duration // the index of the larger
	for _, n := range []int{few, many} {
		s := newStore(b, n)
		took := s.serve(b)
		b.Logf("%d images: index built from storage in %v", n, took.Round(time.Millisecond))
		stores, built = append(stores, s), took
	}
	for b.Loop() {
		for kind, k := range questions {
			var figures [2]measured
			for i, s := range stores {
				s.measure(b, kind, block, &measured{}) // warms up
				figures[i] = measured{}
			}
			for range blocks {
				for i, s := range stores {
					s.measure(b, kind, block, &figures[i])
				}
			}
			report(b, k.name, figures[0], figures[1])
		}
		for _, s := range stores {
			base := s.b.RSS()
			s.b.ResetPeak()
			images, bytes, took := s.whole(b)
			b.Logf("list of all %d images: %d KiB in %v, grew by %d KiB", images, bytes>>10, took.Round(time.Millisecond), (s.b.Peak()-base)>>10)
		}
	}
	b.ReportMetric(built.Seconds(), "s-build")
}

func report(b *testing.B, kind string, few, many measured) {
	line := func(f measured) string {
		return fmt.Sprintf("server %v/%v, client %v/%v, processor %v a request",
			quantile(f.server, .5), quantile(f.server, .99),
			quantile(f.client, .5).Round(time.Microsecond), quantile(f.client, .99).Round(time.Microsecond),
			(f.cpu / time.Duration(len(f.server))).Round(time.Microsecond))
	}
	ratio := func(a, b time.Duration) float64 { return float64(b) / float64(max(a, 1)) }
	b.Logf("%s: median/99th percentile\n  few:  %s\n  many: %s\n  many/few: server median %.2f, client median %.2f, processor %.2f", kind, line(few), line(many),
		ratio(quantile(few.server, .5), quantile(many.server, .5)),
		ratio(quantile(few.client, .5), quantile(many.client, .5)), ratio(few.cpu, many.cpu))
	b.ReportMetric(float64(quantile(many.server, .5).Microseconds()), "us-server-"+kind)
	b.ReportMetric(ratio(quantile(few.server, .5), quantile(many.server, .5)), "ratio-server-"+kind)
}
