package access

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
)

// side is a berth that is asked in one way.
type side struct {
	name  string
	b     *harness.Berth
	http  *http.Client
	auth  string
	times []time.Duration
}

// BenchmarkAccounts compares an open berth with closed ones, one for each way
// to show a token, so that the processor time of each process is that of one
// way. Requests take turns, so that a machine that becomes busy slows all
// alike. The figures are ratios to the open one, of the client's median and of
// the server's processor time for a request; nothing is asserted.
//
//	go test -bench Accounts -run '^$' ./test/access
func BenchmarkAccounts(b *testing.B) {
	const rounds = 1000
	image := harness.NewSizedImage("bench", "one", 1)
	blob := bytes.Repeat([]byte{'b'}, 1<<10)
	sides := startSides(b, image, blob)
	for _, route := range []struct{ name, path, body string }{
		{"manifest", "/v2/alice/app/manifests/v1", ""},
		{"blob", "/v2/alice/app/blobs/" + harness.Digest(blob), ""},
		{"tag", "/v1/images", `{"tag":"alice/app:v1"}`},
	} {
		b.Run(route.name, func(b *testing.B) {
			for range rounds / 5 {
				for _, s := range sides {
					s.ask(b, route.path, route.body)
				}
			}
			var cpu [4]time.Duration
			for i, s := range sides {
				s.times, cpu[i] = nil, s.b.CPU()
			}
			for b.Loop() {
				for range rounds {
					// What a server does after its answer slows the next one: in
					// no order, that is each as often as another.
					for _, i := range rand.Perm(len(sides)) {
						s := sides[i]
						s.times = append(s.times, s.ask(b, route.path, route.body))
					}
				}
			}
			var open, openCPU float64
			for i, s := range sides {
				slices.Sort(s.times)
				median := float64(s.times[len(s.times)/2].Nanoseconds()) / 1000
				used := float64((s.b.CPU() - cpu[i]).Nanoseconds()) / 1000 / float64(len(s.times))
				if i == 0 {
					open, openCPU = median, used
				}
				b.Logf("%-8s %-6s client %.0f µs (×%.3f), processor %.0f µs (×%.3f)", route.name, s.name, median, median/open, used, used/openCPU)
				if i > 0 {
					b.ReportMetric(median/open, s.name+"/open")
					b.ReportMetric(used/openCPU, s.name+"-cpu/open")
				}
			}
			b.ReportMetric(0, "ns/op") // of a thousand requests to four berths: says nothing
		})
	}
}

// startSides starts an open berth and three closed ones with the same image.
func startSides(b *testing.B, image harness.Image, blob []byte) (sides []*side) {
	for _, name := range []string{"open", "basic", "bearer", "signed"} {
		s := &side{name: name, b: harness.Start(b), http: &http.Client{Transport: &http.Transport{DisableCompression: true}}}
		c := harness.NewClient(s.b.URL)
		if name != "open" {
			alice := harness.AddAccount(b, s.b, "alice")
			for i := range 20 { // she is not alone
				harness.AddAccount(b, s.b, fmt.Sprint("tenant", i))
			}
			s.auth = map[string]string{
				"basic": alice.Basic(), "bearer": "Bearer " + alice.Bearer,
				"signed": "Bearer " + harness.SignedToken(b, s.b, alice.Basic()),
			}[name]
			c = alice.On(s.b)
		}
		c.PutImage(b, "alice/app", "v1", image)
		if err := c.PushBlob("alice/app", blob); err != nil {
			b.Fatal(err)
		}
		sides = append(sides, s)
	}
	// A file that was changed a moment ago is read more often.
	time.Sleep(2500 * time.Millisecond)
	return sides
}

// ask sends one request and returns how long the answer took.
func (s *side) ask(b *testing.B, path, body string) time.Duration {
	r, err := http.NewRequest(http.MethodGet, s.b.URL+path, strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Accept", harness.OCIIndex)
	if s.auth != "" {
		r.Header.Set("Authorization", s.auth)
	}
	begin := time.Now()
	a, err := s.http.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	_, err = io.Copy(io.Discard, a.Body)
	took := time.Since(begin)
	if err := a.Body.Close(); err != nil || a.StatusCode != http.StatusOK {
		b.Fatalf("%s on %s: %d, %v", path, s.name, a.StatusCode, err)
	}
	if err != nil {
		b.Fatal(err)
	}
	return took
}
