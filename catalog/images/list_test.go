package images

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-oci/berth/catalog/index"
)

func TestList(t *testing.T) {
	server := serve(t, shop(), Options{PublicHost: "h"})
	var all []string
	for _, name := range get(t, server.URL+"/images", "").names() {
		all = append(all, strings.TrimPrefix(name, "h/"))
	}
	if want := []string{"alice/app", "alice/app", "alice/app", "alice/app/sub", "alice/app2", "alice/copy", "app", "bob/app", "bob/copy", "copy", "utils/tunnel"}; !slices.Equal(all, want) {
		t.Errorf("got %v, want %v", all, want)
	}
	for _, test := range []struct {
		query string
		want  []int // the hours of the images
	}{
		{"namespace=alice", []int{2, 1, 4, 3, 9}},
		{"namespace=alice/app", []int{2, 1, 4}},
		{"namespace=official", []int{8, 6, 9, 7}},
		{"namespace=nobody", []int{}},
		{`namespace\=alice\&tagged`, []int{2, 1, 3, 9}},
		{"namespace=alice&tagged=false", []int{2, 1, 4, 3, 9}},
		{"namespace=alice&order=asc", []int{1, 2, 3, 4, 9}},
		{"namespace=alice&order=PAGINATION_ORDER_DESC", []int{9, 4, 3, 2, 1}},
		{"namespace=alice&sortby=create_time", []int{1, 2, 3, 4, 9}},
		{"namespace=alice&count=2", []int{1, 2}},
		{"namespace=alice&count=3000", []int{1, 2, 3, 4, 9}},
		{"namespace=alice&count=2&order=desc", []int{9, 4}},
		{"namespace=alice&from=2026-01-31T03:00:00Z", []int{3, 4, 9}},
		{"namespace=alice&from=2026-01-31T03:00:00Z&order=desc", []int{3, 2, 1}},
		{"namespace=alice&count=2&from=" + id("alice/app2", 3), []int{3, 4}},
		{"namespace=alice&count=2&order=desc&from=" + strings.ToUpper(id("alice/app2", 3)), []int{3, 2}},
		{"namespace=alice&from=h/app@" + at("official/app", 6), []int{9}},
		{"namespace=alice&from=h:80/alice/app2@" + at("alice/app2", 3), []int{3, 4, 9}},
	} {
		a := get(t, server.URL+"/v1/images/list?"+test.query, "[]")
		hours := []int{}
		for _, image := range a.Data.Images {
			hours = append(hours, int(image["size_in_bytes"].(float64))-1000)
		}
		if a.code != http.StatusOK || a.Status != "success" || !slices.Equal(hours, test.want) {
			t.Errorf("%s: got %v, want %v: %s", test.query, hours, test.want, a.raw)
		}
	}
	// An image to start from that does not exist.
	for from, entry := range map[string]string{
		uuidA:         `"error":8,"uuid":"` + uuidA + `"}`,
		"h/a@" + shaB: `"error":8,"digest":"h/a@` + shaB + `"}`,
	} {
		a := get(t, server.URL+"/v1/images?from="+from, "")
		if a.code != http.StatusNotFound || a.Status != "error" || !strings.Contains(a.raw, entry) {
			t.Errorf("from=%s: got %d %s", from, a.code, a.raw)
		}
		if a := do(t, http.MethodHead, server.URL+"/v1/images?from="+from, ""); a.code != http.StatusNotFound || a.raw != "" {
			t.Errorf("HEAD from=%s: got %d %s", from, a.code, a.raw)
		}
	}
	if a := get(t, serve(t, &fake{}, Options{}).URL+"/images", ""); steady(a.raw) != `{"status":"success","data":{"images":[]},"op_time_us":0}` {
		t.Errorf("empty: %s", a.raw)
	}
}

// endless lists n images that it makes up, in batches of any size.
type endless struct {
	fake
	n      int
	served atomic.Int64
	most   atomic.Int64 // largest batch asked for
	fail   int          // 0, or the entry at which it fails
	cancel atomic.Int64 // calls with a context that was done
	calls  atomic.Int64
	// during is called in each call, with how many there were before.
	during func(ctx context.Context, before int64)
}

func (e *endless) List(ctx context.Context, _ index.Query, after index.Cursor, n int) ([]index.Entry, index.Cursor, error) {
	if ctx.Err() != nil {
		e.cancel.Add(1)
	}
	if before := e.calls.Add(1) - 1; e.during != nil {
		e.during(ctx, before)
	}
	if int64(n) > e.most.Load() {
		e.most.Store(int64(n))
	}
	if ctx.Err() != nil {
		n = 1 // stays in the handler's buffer: to write it would fail by itself
	}
	start, _ := strconv.Atoi(string(after))
	if e.fail > 0 && start >= e.fail {
		return nil, "", errors.New("disk on fire")
	}
	end := min(start+n, e.n)
	found := make([]index.Entry, 0, n)
	for i := start; i < end; i++ {
		found = append(found, newImage("alice/app"+strconv.Itoa(i), 1, "latest"))
	}
	e.served.Add(int64(len(found)))
	if end == e.n {
		return found, "", nil
	}
	return found, index.Cursor(strconv.Itoa(end)), nil
}

// heap is what is held. Whoever else allocates meanwhile adds garbage to it.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestListStreams(t *testing.T) {
	c := &endless{n: 200_000}
	// The handler itself looks at the heap: while it does, it makes no garbage
	// that would be counted as held.
	var start, most atomic.Uint64
	c.during = func(_ context.Context, before int64) {
		switch {
		case before == 0:
			start.Store(heap())
		case before%8 == 0:
			most.Store(max(most.Load(), heap()))
		}
	}
	server := serve(t, c, Options{})
	resp, err := http.Get(server.URL + "/v1/images")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	// A reader that stops: only what fits into buffers on the way is read.
	r := bufio.NewReader(resp.Body)
	if _, err := r.ReadString('}'); err != nil {
		t.Fatal(err)
	}
	for before := int64(-1); before != c.served.Load(); time.Sleep(200 * time.Millisecond) {
		before = c.served.Load()
	}
	if served := c.served.Load(); served >= 200_000 {
		t.Errorf("%d entries were read while the client took none", served)
	}
	for {
		_, err := r.ReadSlice('\n') // there is none: each call takes a buffer
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			t.Fatal(err)
		}
	}
	if c.served.Load() != 200_000 || c.most.Load() != batch {
		t.Errorf("%d entries in batches of %d", c.served.Load(), c.most.Load())
	}
	if start, most := start.Load(), most.Load(); most == 0 || most > start+8<<20 {
		t.Errorf("the heap grew from %d to %d bytes", start, most)
	}
}

func TestListCount(t *testing.T) {
	c := &endless{n: 10_000}
	server := serve(t, c, Options{})
	// One more tells that there is a next page.
	if a := get(t, server.URL+"/v1/images?count=300", ""); len(a.Data.Images) != 300 || c.served.Load() != 301 {
		t.Errorf("%d images, %d read", len(a.Data.Images), c.served.Load())
	}
	c.served.Store(0)
	if a := do(t, http.MethodHead, server.URL+"/v1/images", ""); a.code != http.StatusOK || c.served.Load() > 1 {
		t.Errorf("HEAD: %d, %d read", a.code, c.served.Load())
	}
}

func TestListFails(t *testing.T) {
	var log strings.Builder
	opts := Options{RequestID: func(context.Context) string { return "r1" }, Log: logTo(&log)}
	broken := serve(t, &fake{err: errors.New("disk on fire")}, opts)
	for _, test := range []struct{ query, body string }{
		{}, {query: "from=" + uuidA}, {query: "uuid=" + uuidA}, {body: `{"tag":"a/b"}`}, {body: `{"digest":"` + shaA + `"}`},
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			a := do(t, method, broken.URL+"/v1/images?"+test.query, test.body)
			if method == http.MethodGet {
				wantFailure(t, a, http.StatusInternalServerError, "try again later (request r1)")
				if strings.Contains(a.raw, "fire") {
					t.Errorf("the client was told %s", a.raw)
				}
			} else if a.code != http.StatusInternalServerError || a.raw != "" {
				t.Errorf("HEAD: got %d %s", a.code, a.raw)
			}
		}
	}
	if !strings.Contains(log.String(), "disk on fire") || !strings.Contains(log.String(), "request_id=r1") {
		t.Errorf("log: %s", log.String())
	}
	// In the middle of a list the connection ends, whatever was sent.
	for _, fail := range []int{1, 5000} {
		resp, err := http.Get(serve(t, &endless{n: 10_000, fail: fail}, opts).URL + "/v1/images/list")
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		if err == nil {
			t.Errorf("a list that failed at %d looks complete", fail)
		}
	}
}

func TestListClientGone(t *testing.T) {
	c := &endless{n: 1 << 30}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// The client, which has read some of the answer, goes during a call, which sees
	// that it has: no other may follow.
	const last = 20
	answered := make(chan struct{})
	c.during = func(ctx context.Context, before int64) {
		if before == last {
			select {
			case <-answered:
				cancel()
			case <-ctx.Done(): // the client has failed
			}
			<-ctx.Done()
		}
	}
	server := serve(t, c, Options{})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/v1/images", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadFull(resp.Body, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	close(answered)
	if n, err := io.Copy(io.Discard, resp.Body); !errors.Is(err, context.Canceled) {
		t.Fatalf("%d more bytes and %v", n, err)
	}
	server.Close() // waits for the handler
	if n, calls := c.cancel.Load(), c.calls.Load(); n > 0 || calls != last+1 {
		t.Errorf("the catalog was asked %d times after the client had gone, %d in all", n, calls)
	}
}
