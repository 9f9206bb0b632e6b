package hostile

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
)

const (
	// mostRSS is what berth may take beside all these clients, in bytes.
	mostRSS = 300_000_000
	// slowAnswer is what 99 of 100 answers to the tenant must be faster than.
	slowAnswer = time.Second
	// busyElsewhere is the part of the processors that, if others have it, makes a
	// measure of time worthless.
	busyElsewhere = 0.25
)

// TestSiege has clients of every hostile kind there is at once, against a berth
// that may open 1024 files, while a tenant that behaves well pushes, lists and
// pulls: it never sees an error, and hardly ever waits. A thousand of them for a
// minute take all of two processors, so TEST_REQUIRE=siege is for a run of this test
// alone. With stalling there are fewer, not as long, and times are left alone: another
// test may be what it waited for.
func TestSiege(t *testing.T) {
	clients, lasts, strict := 200, 4*time.Second, harness.Required("siege")
	if strict {
		clients, lasts = 1000, time.Minute
	} else {
		harness.Long(t, "stalling", "hundreds of clients at once take all that there is")
	}
	b := harness.Start(t, harness.WithEnv("BERTH_LOG_ACCESS=false"), harness.WithArgs("--log-level", "error"), harness.WithFiles(1024))
	s := newSiege(t, b)
	good := newResident(harness.AddAccount(t, b, "good").On(b))
	if err := good.round(0); err != nil { // it is there before they come
		t.Fatal(err)
	}
	b.ResetPeak()
	cpu, before := b.CPU(), lookAtMachine()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	begin := time.Now()
	for i := range clients {
		s.clients.Go(func() { s.client(ctx, i) })
	}
	const rounds = 3 // at least, on however busy a machine
	for i := 1; i <= rounds || time.Since(begin) < lasts; i++ {
		if err := good.round(i); err != nil {
			t.Errorf("the tenant: %v", err)
			break
		}
	}
	peak, lasted := b.Peak(), time.Since(begin)
	cpu = b.CPU() - cpu
	others := before.others(cpu)
	shed := harness.Metrics(t, b)
	stop()
	s.clients.Wait()
	s.report()
	for _, reason := range []string{"connections", "client_connections", "requests", "uploads", "memory", "account_requests", "account_uploads", "account_memory", "stalled"} {
		t.Logf("shed because of %s: %s", reason, shed[`berth_shed_requests_total{reason="`+reason+`"}`])
	}
	p50, p99, slowest := good.quantiles()
	t.Logf("%d rounds, %d answers to the tenant: the median took %v, the 99th percentile %v, the slowest %v (%s); berth took %v of processor time in %v, and at most %d MB",
		good.rounds, len(good.took), p50, p99, slowest, good.slowest, cpu, lasted.Round(time.Second), peak/1_000_000)
	if peak > mostRSS {
		t.Errorf("berth took %d MB, want %d at most", peak/1_000_000, mostRSS/1_000_000)
	}
	switch {
	case p99 <= slowAnswer:
	case others > busyElsewhere:
		t.Logf("that says little of berth: %.0f %% of the processors were busy with something else", 100*others)
	case strict:
		t.Errorf("one answer of a hundred to the tenant took more than %v", p99)
	}
	if shed["process_max_fds"] != "1024" {
		t.Errorf("berth may open %s files", shed["process_max_fds"])
	}
	select {
	case <-b.Exited:
		t.Errorf("berth has ended: %s", b.Log)
	default:
	}
	if log := b.Log.String(); strings.Contains(log, "panic") {
		t.Errorf("berth panicked: %.2000s", log)
	}
}

// resident is a tenant that behaves well, and notes how long its answers take.
type resident struct {
	c      *harness.Client
	rounds int
	took   []time.Duration
	// slowest is what took the longest.
	slowest string
}

func newResident(c *harness.Client) *resident {
	r := &resident{c: c}
	c.HTTP.Transport = timed{c.HTTP.Transport, r}
	return r
}

type timed struct {
	next http.RoundTripper
	of   *resident
}

// RoundTrip notes how long an answer took to begin: all are small.
func (t timed) RoundTrip(r *http.Request) (*http.Response, error) {
	begin := time.Now()
	a, err := t.next.RoundTrip(r)
	took := time.Since(begin)
	if len(t.of.took) > 0 && took > slices.Max(t.of.took) {
		t.of.slowest = r.Method + " " + r.URL.Path
	}
	t.of.took = append(t.of.took, took)
	return a, err
}

// round pushes an image, lists it, and pulls it.
func (r *resident) round(i int) error {
	const repository = "good/app"
	image := harness.NewImage("k", fmt.Sprint("round ", i))
	tag := fmt.Sprint("v", i%10)
	digest, err := r.c.Push(repository, tag, image)
	if err != nil {
		return err
	}
	if list, err := r.c.Listed("?namespace=good", ""); err != nil || len(list[repository+"@"+digest]) != 1 {
		return errors.Join(err, fmt.Errorf("what was pushed is not listed: %s in %d", digest, len(list)))
	}
	if list, err := r.c.Listed("", `{"tag":"`+repository+":"+tag+`"}`); err != nil || len(list) != 1 {
		return errors.Join(err, fmt.Errorf("%d are found by tag", len(list)))
	}
	paths := []string{"/v2/", "/v2/" + repository + "/manifests/" + tag, "/v2/" + repository + "/tags/list", "/v2/" + repository + "/manifests/" + harness.Digest(image.Manifest)}
	for _, blob := range image.Blobs {
		paths = append(paths, "/v2/"+repository+"/blobs/"+harness.Digest(blob))
	}
	for _, path := range paths {
		if _, err := r.c.Want(http.StatusOK, http.MethodGet, path, nil); err != nil {
			return err
		}
	}
	r.rounds++
	time.Sleep(20 * time.Millisecond)
	return nil
}

func (r *resident) quantiles() (p50, p99, slowest time.Duration) {
	all := slices.Sorted(slices.Values(r.took))
	return all[len(all)/2], all[len(all)*99/100], all[len(all)-1]
}

// siege is what hostile clients know of a berth.
type siege struct {
	t       *testing.T
	b       *harness.Berth
	clients sync.WaitGroup
	// mallory has a small quota, eve none.
	mallory, eve harness.Account
	// blob is a large one of eve's, subject what large referrers of hers have, and
	// image the digest of one of her many.
	blob, subject, image string

	attempts []atomic.Int64 // by kind
	statuses sync.Map       // of the answers, how many of each: *atomic.Int64
}

// newSiege fills berth with what hostile clients ask for.
func newSiege(t *testing.T, b *harness.Berth) *siege {
	t.Helper()
	s := &siege{
		t: t, b: b, attempts: make([]atomic.Int64, len(kinds)),
		mallory: harness.AddAccount(t, b, "mallory", "--quota", "10MiB"), eve: harness.AddAccount(t, b, "eve"),
	}
	c := s.eve.On(b)
	for i := range 60 {
		var err error
		if s.image, err = c.Push("eve/app", fmt.Sprint("v", i), harness.NewImage("k", fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	blob := []byte(strings.Repeat("a large blob ", 1<<20))
	s.blob = harness.Digest(blob)
	config := []byte("{}")
	for _, content := range [][]byte{blob, config} {
		if err := c.PushBlob("eve/app", content); err != nil {
			t.Fatal(err)
		}
	}
	s.subject = s.image
	note := strings.Repeat(`"a%d":"","b%d":"",`, 1000)
	for i := range 6 {
		annotations := strings.ReplaceAll(note, "%d", fmt.Sprint(i)) // duplicates: all of one size
		var many strings.Builder
		for n := range 60_000 {
			fmt.Fprintf(&many, `"%d-%d":"",`, i, n)
		}
		body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"artifactType":"a/b","config":{"mediaType":"a/b","digest":%q,"size":2},"layers":[],`+
			`"subject":{"mediaType":%q,"digest":%q,"size":1},"annotations":{%s%s"end":""}}`,
			harness.OCIManifest, harness.Digest(config), harness.OCIManifest, s.subject, annotations, many.String())
		if err := c.PushManifest("eve/app", harness.Digest([]byte(body)), harness.OCIManifest, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// client is the i-th: of one kind, and from one address.
func (s *siege) client(ctx context.Context, i int) {
	kind := kinds[i%len(kinds)]
	address := byte(2 + i%98)
	if i%10 == 0 {
		address = 2
	}
	for ctx.Err() == nil {
		s.attempts[i%len(kinds)].Add(1)
		if c := s.dial(ctx, address); c != nil {
			kind.act(s, c, i)
			c.close()
		}
		c := time.NewTimer(kind.pause)
		select {
		case <-ctx.Done():
		case <-c.C:
		}
	}
}

// report logs what the clients did, and wants each kind to have done something.
func (s *siege) report() {
	for i, kind := range kinds {
		n := s.attempts[i].Load()
		s.t.Logf("%s: %d times", kind.name, n)
		if n == 0 {
			s.t.Errorf("%s did nothing", kind.name)
		}
	}
	s.statuses.Range(func(status, n any) bool {
		s.t.Logf("answers with %d: %d", status, n.(*atomic.Int64).Load())
		if status == http.StatusInternalServerError {
			s.t.Error("berth was at a loss")
		}
		return true
	})
}
