package test

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
)

// scaleStore is a storage folder that was written directly, as the embedded
// registry lays it out, and the berth that serves it.
type scaleStore struct {
	dir    string // the data folder
	root   string
	made   map[string]bool // folders
	images []scaleImage

	b *Berth
	c *rawClient
}

type scaleImage struct{ repository, tag, digest string }

const scalePerRepository = 10

// newScaleStore writes images, ten in each repository, ten repositories in each
// namespace; but the last repository is alone in the namespace ten.
func newScaleStore(tb testing.TB, images int) *scaleStore {
	tb.Helper()
	s := &scaleStore{dir: tb.TempDir(), made: map[string]bool{}}
	s.root = filepath.Join(s.dir, "storage/docker/registry/v2")
	base := newRawImage("kernel", "scale")
	for _, blob := range base.blobs {
		s.blob(tb, blob)
	}
	var manifest map[string]any
	if err := json.Unmarshal(base.manifest, &manifest); err != nil {
		tb.Fatal(err)
	}
	for i := range images {
		n := i / scalePerRepository
		repository := fmt.Sprintf("ns%03d/app%d", n/10, n%10)
		if i >= images-scalePerRepository {
			repository = "ten/app"
		}
		manifest["annotations"] = map[string]string{"number": fmt.Sprint(i)}
		child := rawJSON(manifest)
		index := rawIndexOf(rawDescribe(rawOCIManifest, child))
		s.blob(tb, child)
		s.blob(tb, index)
		folder := "repositories/" + repository + "/"
		for _, blob := range base.blobs {
			s.link(tb, folder+"_layers", rawDigest(blob))
		}
		s.link(tb, folder+"_manifests/revisions", rawDigest(child))
		s.link(tb, folder+"_manifests/revisions", rawDigest(index))
		tag := fmt.Sprintf("v%d", i%scalePerRepository)
		s.link(tb, folder+"_manifests/tags/"+tag+"/index", rawDigest(index))
		s.file(tb, folder+"_manifests/tags/"+tag+"/current/link", []byte(rawDigest(index)))
		s.images = append(s.images, scaleImage{repository, tag, rawDigest(index)})
	}
	return s
}

func (s *scaleStore) blob(tb testing.TB, content []byte) {
	hex := strings.TrimPrefix(rawDigest(content), "sha256:")
	s.file(tb, "blobs/sha256/"+hex[:2]+"/"+hex+"/data", content)
}

func (s *scaleStore) link(tb testing.TB, folder, digest string) {
	s.file(tb, folder+"/"+strings.Replace(digest, ":", "/", 1)+"/link", []byte(digest))
}

func (s *scaleStore) file(tb testing.TB, path string, content []byte) {
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
func (s *scaleStore) serve(tb testing.TB) time.Duration {
	begin := time.Now()
	s.b = start(tb, withData(s.dir), withArgs("--log-level", "warn"))
	s.c = newRawClient(s.b.URL)
	return time.Since(begin)
}

// scaleKinds are the questions whose cost must not depend on how much there is.
var scaleKinds = []struct {
	name string
	ask  func(scaleImage) (path, body string)
	want int // how many images the answer has
}{
	{"tag", func(i scaleImage) (string, string) {
		return "/v1/images", fmt.Sprintf(`{"tag":"%s:%s"}`, i.repository, i.tag)
	}, 1},
	{"digest", func(i scaleImage) (string, string) {
		return "/v1/images", fmt.Sprintf(`{"digest":"%s@%s"}`, i.repository, i.digest)
	}, 1},
	{"bare-digest", func(i scaleImage) (string, string) { return "/v1/images", `{"digest":"` + i.digest + `"}` }, 1},
	{"uuid", func(i scaleImage) (string, string) {
		return "/v1/images?uuid=" + uuid.NewSHA1(uuid.NameSpaceURL, []byte("oci://"+i.repository+"@"+i.digest)).String(), ""
	}, 1},
	{"namespace-of-ten", func(scaleImage) (string, string) { return "/v1/images?namespace=ten", "" }, 10},
}

// scaleFigures are what many requests of one kind took.
type scaleFigures struct {
	server, client []time.Duration
	cpu            time.Duration
}

// measure sends n requests of a kind about random images.
func (s *scaleStore) measure(tb testing.TB, kind, n int, f *scaleFigures) {
	tb.Helper()
	k := scaleKinds[kind]
	cpu := s.cpu(tb)
	for range n {
		path, body := k.ask(s.images[rand.IntN(len(s.images))])
		begin := time.Now()
		a, err := s.c.want(http.StatusOK, http.MethodGet, path, body)
		took := time.Since(begin)
		if err != nil {
			tb.Fatal(err)
		}
		var answer struct {
			Data   struct{ Images []json.RawMessage }
			OpTime int64 `json:"op_time_us"`
		}
		if err := json.Unmarshal(a.body, &answer); err != nil || len(answer.Data.Images) != k.want {
			tb.Fatalf("%s: %d images, want %d (%v) in %s", k.name, len(answer.Data.Images), k.want, err, a.body)
		}
		f.server = append(f.server, time.Duration(answer.OpTime)*time.Microsecond)
		f.client = append(f.client, took)
	}
	f.cpu += s.cpu(tb) - cpu
}

// cpu is the processor time that the process has used, in steps of the clock
// tick that Linux reports to programs: 10 ms.
func (s *scaleStore) cpu(tb testing.TB) time.Duration {
	tb.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.b.cmd.Process.Pid))
	if err != nil {
		tb.Skip("skipped: processor time of a process is read from /proc, which is not here")
	}
	// The name in parentheses may hold anything; utime and stime are the 12th
	// and 13th field behind it (proc(5)).
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	var user, system int64
	_, _ = fmt.Sscan(fields[11], &user)
	_, _ = fmt.Sscan(fields[12], &system)
	return time.Duration(user+system) * 10 * time.Millisecond
}

func scaleQuantile(all []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// whole reads the list of everything.
func (s *scaleStore) whole(tb testing.TB) (images int, bytes int, took time.Duration) {
	begin := time.Now()
	a, err := s.c.want(http.StatusOK, http.MethodGet, "/v1/images", nil)
	if err != nil {
		tb.Fatal(err)
	}
	return strings.Count(string(a.body), `"uuid":`), len(a.body), time.Since(begin)
}

// TestScaleStore keeps the benchmark below from rotting.
func TestScaleStore(t *testing.T) {
	s := newScaleStore(t, 20)
	s.serve(t)
	for kind := range scaleKinds {
		s.measure(t, kind, 5, &scaleFigures{})
	}
	if images, _, _ := s.whole(t); images != 20 {
		t.Errorf("the whole list has %d images, want 20", images)
	}
	// What was written by hand is what the registry itself reads.
	for _, i := range s.images {
		if d, err := s.c.digestOf(i.repository, i.tag); err != nil || d != i.digest {
			t.Errorf("%s:%s is %s (%v), want %s", i.repository, i.tag, d, err, i.digest)
		}
	}
	compareRebuilt(t, s.b)
}

// BenchmarkScale compares few images with a hundred times as many, side by
// side in one run. Its figures are metrics and log lines; nothing is asserted,
// for a busy machine makes all of them worse. Without -v the log is cut.
//
//	go test -v -bench Scale -run '^$' ./test
func BenchmarkScale(b *testing.B) {
	const few, many, block, blocks = 200, 20_000, 200, 10
	var stores []*scaleStore
	var built time.Duration // the index of the larger
	for _, n := range []int{few, many} {
		s := newScaleStore(b, n)
		took := s.serve(b)
		b.Logf("%d images: index built from storage in %v", n, took.Round(time.Millisecond))
		stores, built = append(stores, s), took
	}
	for b.Loop() {
		for kind, k := range scaleKinds {
			var figures [2]scaleFigures
			for i, s := range stores {
				s.measure(b, kind, block, &scaleFigures{}) // warms up
				figures[i] = scaleFigures{}
			}
			for range blocks {
				for i, s := range stores {
					s.measure(b, kind, block, &figures[i])
				}
			}
			scaleReport(b, k.name, figures[0], figures[1])
		}
		for _, s := range stores {
			base := s.b.rss()
			s.b.resetPeak()
			images, bytes, took := s.whole(b)
			b.Logf("list of all %d images: %d KiB in %v, grew by %d KiB", images, bytes>>10, took.Round(time.Millisecond), (s.b.peak()-base)>>10)
		}
	}
	b.ReportMetric(built.Seconds(), "s-build")
}

func scaleReport(b *testing.B, kind string, few, many scaleFigures) {
	line := func(f scaleFigures) string {
		return fmt.Sprintf("server %v/%v, client %v/%v, processor %v a request",
			scaleQuantile(f.server, .5), scaleQuantile(f.server, .99),
			scaleQuantile(f.client, .5).Round(time.Microsecond), scaleQuantile(f.client, .99).Round(time.Microsecond),
			(f.cpu / time.Duration(len(f.server))).Round(time.Microsecond))
	}
	ratio := func(a, b time.Duration) float64 { return float64(b) / float64(max(a, 1)) }
	b.Logf("%s: median/99th percentile\n  few:  %s\n  many: %s\n  many/few: server median %.2f, client median %.2f, processor %.2f", kind, line(few), line(many),
		ratio(scaleQuantile(few.server, .5), scaleQuantile(many.server, .5)),
		ratio(scaleQuantile(few.client, .5), scaleQuantile(many.client, .5)), ratio(few.cpu, many.cpu))
	b.ReportMetric(float64(scaleQuantile(many.server, .5).Microseconds()), "us-server-"+kind)
	b.ReportMetric(ratio(scaleQuantile(few.server, .5), scaleQuantile(many.server, .5)), "ratio-server-"+kind)
}
