package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/index"
)

// shop is a catalog with names that are easily confused.
func shop() *fake {
	f := &fake{entries: []index.Entry{
		newImage("alice/app", 1, "v1"),
		newImage("alice/app", 2, "latest", "v2"),
		newImage("alice/app2", 3, "latest"),
		newImage("alice/app/sub", 4),
		newImage("bob/app", 5, "latest"),
		newImage("official/app", 6, "latest"),
		newImage("official/utils/tunnel", 7, "latest", "v1"),
		newImage("official/alice/app", 8, "hidden", "v2"),
	}}
	// The same bytes in three repositories.
	for _, repository := range []string{"alice/copy", "bob/copy", "official/copy"} {
		e := newImage(repository, 9, "latest")
		e.Digest = shaA
		f.entries = append(f.entries, e)
	}
	child := newImage("alice/app", 10)
	child.Digest = shaB
	f.children = append(f.children, child)
	return f
}

// at is the digest of an entry of shop.
func at(repository string, hour int) string {
	return digest.FromString(fmt.Sprint(repository, hour)).String()
}

func id(repository string, hour int) string { return newImage(repository, hour).UUID().String() }

func TestLookup(t *testing.T) {
	server := serve(t, shop(), Options{PublicHost: "r.example.com"})
	host := strings.TrimPrefix(server.URL, "http://")
	for _, test := range []struct {
		name, query, body string
		code              int
		status            string
		want              []string
	}{
		{name: "tag", body: `{"tag":"alice/app:v1"}`, want: []string{"alice/app"}},
		{name: "latest", body: `{"tag":"alice/app"}`, want: []string{"alice/app"}},
		{name: "digest", body: `{"digest":"alice/app@` + at("alice/app", 1) + `"}`, want: []string{"alice/app"}},
		{name: "public host", body: `{"tag":"r.example.com/alice/app:v1"}`, want: []string{"alice/app"}},
		{name: "the request's host", body: `{"tag":"` + host + `/alice/app:v1"}`, want: []string{"alice/app"}},
		{name: "another host and port", body: `{"tag":"localhost:9/alice/app:v1"}`, want: []string{"alice/app"}},
		{name: "official", body: `{"tag":"app"}`, want: []string{"app"}},
		{name: "official with host", body: `{"tag":"r.example.com/app"}`, want: []string{"app"}},
		{name: "official in long form", body: `{"tag":"official/app"}`, want: []string{"app"}},
		{name: "official below", body: `{"digest":"utils/tunnel@` + at("official/utils/tunnel", 7) + `"}`, want: []string{"utils/tunnel"}},
		{name: "as it stands first", body: `{"tag":"alice/app:v2"}`, want: []string{"alice/app"}},
		{name: "then below official", body: `{"tag":"alice/app:hidden"}`, want: []string{"alice/app"}},
		{name: "child", body: `{"digest":"alice/app@` + shaB + `"}`, want: []string{"alice/app"}},
		{name: "anywhere", body: `{"digest":"` + shaA + `"}`, want: []string{"alice/copy", "bob/copy", "copy"}},
		{name: "anywhere with a tag", body: `{"digest":"` + shaA + `","tag":"bob/copy:latest"}`, want: []string{"bob/copy"}},
		{name: "name, tag and digest", body: `{"digest":"alice/app:v1@` + at("alice/app", 1) + `"}`, want: []string{"alice/app"}},

		{name: "no such tag", body: `{"tag":"alice/app:v3"}`, code: 404, want: []string{"missing alice/app:v3"}},
		{name: "no such name", body: `{"tag":"carol/app:v1"}`, code: 404, want: []string{"missing carol/app:v1"}},
		{name: "not in that repository", body: `{"digest":"bob/app@` + at("alice/app", 1) + `"}`, code: 404, want: []string{"missing bob/app@" + at("alice/app", 1)}},
		{name: "nowhere", body: `{"digest":"` + string(sha("c")) + `"}`, code: 404, status: "-"},
		{name: "tag of another digest", body: `{"digest":"alice/app:v2@` + at("alice/app", 1) + `"}`, code: 404, status: "-"},
		{name: "digest and another's tag", body: `{"digest":"` + at("alice/app", 1) + `","tag":"alice/app:v2"}`, code: 404, status: "-"},

		{name: "several", body: `[{"tag":"bob/app"},{"tag":"alice/app:v1"},{"tag":"bob/app"}]`, want: []string{"bob/app", "alice/app"}},
		{
			name: "some", body: `[{"tag":"bob/app:v9"},{"tag":"alice/app:v1"},{"digest":"x@` + shaA + `"}]`,
			status: "partial_success", want: []string{"missing bob/app:v9", "alice/app", "missing x@" + shaA},
		},
		{name: "none", body: `[{"tag":"bob/app:v9"},{"tag":"bob/app:v8"}]`, code: 404, want: []string{"missing bob/app:v9", "missing bob/app:v8"}},

		{name: "query tag", query: "tag=alice/app:v1", want: []string{"alice/app"}},
		{name: "query digest", query: "digest=" + shaA, want: []string{"alice/copy", "bob/copy", "copy"}},
		{name: "query both", query: "tag=copy&digest=" + shaA, want: []string{"copy"}},
		{name: "query several", query: "tag=alice/app:v1,bob/app&tag=none", status: "partial_success", want: []string{"alice/app", "bob/app", "missing none"}},
		{name: "query and body", query: "tag=bob/copy", body: `{"digest":"` + shaA + `"}`, want: []string{"bob/copy"}},
		{name: "query and body that differ", query: "tag=bob/app", body: `{"digest":"` + shaA + `"}`, code: 404, want: []string{"missing " + shaA}},
		{
			name: "query means what it names", query: "tag=alice/app:v2",
			body: `[{"digest":"` + at("official/alice/app", 8) + `"},{"digest":"` + at("alice/app", 2) + `"}]`, status: "partial_success",
			want: []string{"missing " + at("official/alice/app", 8), "alice/app"},
		},

		{name: "namespace", query: "namespace=bob", body: `{"digest":"` + shaA + `"}`, want: []string{"bob/copy"}},
		{name: "namespace official", query: "namespace=official", body: `{"tag":"alice/app:v2"}`, want: []string{"alice/app"}},
		{name: "namespace of another", query: "namespace=bob", body: `{"tag":"alice/app:v1"}`, code: 404, want: []string{"missing alice/app:v1"}},
		{name: "namespace of an app", query: "namespace=alice/app", body: `[{"tag":"alice/app2"},{"tag":"alice/app"}]`, status: "partial_success", want: []string{"missing alice/app2", "alice/app"}},
		{name: "tagged", query: "tagged", body: `{"digest":"` + at("alice/app/sub", 4) + `"}`, code: 404, want: []string{"missing " + at("alice/app/sub", 4)}},
		{name: "page", query: "count=1&order=desc", body: `[{"tag":"alice/app"},{"tag":"bob/app"}]`, want: []string{"alice/app", "bob/app"}},

		{name: "uuid", query: "uuid=" + id("alice/app", 1), want: []string{"alice/app"}},
		{name: "upper case", query: "uuid=" + strings.ToUpper(id("alice/app", 1)), want: []string{"alice/app"}},
		{name: "uuids", query: "uuid=" + id("bob/app", 5) + "," + id("alice/app", 1) + "&uuid=" + uuidA, status: "partial_success", want: []string{"bob/app", "alice/app", "missing " + uuidA}},
		{name: "no such uuid", query: "uuid=" + uuidA, code: 404, want: []string{"missing " + uuidA}},
		{name: "uuid and namespace", query: "namespace=alice&uuid=" + id("bob/app", 5), code: 404, want: []string{"missing " + id("bob/app", 5)}},
		{name: "uuid and items", query: "uuid=" + id("bob/app", 5), body: `[{"tag":"bob/app"},{"tag":"alice/app"}]`, status: "partial_success", want: []string{"bob/app", "missing alice/app"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := get(t, server.URL+"/v1/images?"+test.query, test.body)
			code, status := test.code, test.status
			if code == 0 {
				code = http.StatusOK
			}
			if status == "" || status == "-" {
				status = map[int]string{200: "success", 404: "error"}[code]
			}
			if a.code != code || a.Status != status || a.OpTime == nil || (a.Message != "") != (status != "success") {
				t.Errorf("got %d %s, want %d %s", a.code, a.raw, code, status)
			}
			got := a.names()
			for i := range got {
				got[i] = strings.TrimPrefix(got[i], "r.example.com/")
			}
			if test.status != "-" && !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestMissingEntry(t *testing.T) {
	server := serve(t, shop(), Options{RequestID: func(context.Context) string { return "r1" }})
	for _, test := range []struct{ query, body, want string }{
		{
			"", `[{"tag":"bob/app"},{"tag":"alice/x","digest":"` + shaA + `"}]`,
			`,{"status":"error","message":"there is no image with the digest \"` + shaA + `\" and the tag \"alice/x\"","error":8,"digest":"` + shaA + `","tag":"alice/x"}]},"op_time_us":0}`,
		},
		{
			"?uuid=" + uuidA, "",
			`{"status":"error","message":"there is no image with the uuid \"` + uuidA + `\" (request r1)","errors":[{"status":404}],"data":{"images":[` +
				`{"status":"error","message":"there is no image with the uuid \"` + uuidA + `\"","error":8,"uuid":"` + uuidA + `"}]},"op_time_us":0}`,
		},
	} {
		for _, path := range []string{"/v1/images/list", "/v1/images"} {
			if got := steady(get(t, server.URL+path+test.query, test.body).raw); !strings.HasSuffix(got, test.want) {
				t.Errorf("%s: got %s\nwant …%s", path, got, test.want)
			}
		}
	}
	a := get(t, server.URL+"/images", `[{"tag":"bob/app"},{"tag":"x"},{"tag":"y"}]`)
	if a.Message != "2 of 3 images do not exist" {
		t.Errorf("partial success says %q", a.Message)
	}
}

// A batch whose answer is too large to hold is written as it is read.
func TestLargeBatch(t *testing.T) {
	f := shop()
	server := serve(t, f, Options{})
	var body strings.Builder
	body.WriteString(`[{"tag":"bob/app"},{"digest":"` + shaA + `"}`)
	for i := range 900 {
		fmt.Fprintf(&body, `,{"tag":"alice/app:none%d"}`, i)
	}
	for i := range 2000 {
		fmt.Fprintf(&body, `,{"tag":"localhost:%d/alice/app"}`, i+1) // all of them the same
	}
	body.WriteString("]")
	a := get(t, server.URL+"/images", body.String())
	names := a.names()
	if a.code != http.StatusOK || a.Status != "partial_success" || a.Message != "900 of 903 images do not exist" || len(names) != 905 {
		t.Fatalf("got %d %s %q with %d images", a.code, a.Status, a.Message, len(names))
	}
	if !strings.HasSuffix(names[0], "bob/app") || !strings.HasSuffix(names[1], "/alice/copy") ||
		names[903] != "missing alice/app:none899" || !strings.HasSuffix(names[904], "/alice/app") {
		t.Errorf("got %v … %v", names[:4], names[903:])
	}
	a = do(t, http.MethodHead, server.URL+"/images", body.String())
	if a.code != http.StatusOK || a.raw != "" {
		t.Errorf("HEAD: got %d %q", a.code, a.raw)
	}
	// A catalog that fails on the second walk ends the connection.
	f.calls = 0
	get(t, server.URL+"/images", body.String())
	f.err, f.failAfter, f.calls = errors.New("disk on fire"), f.calls-1, 0
	req, err := http.NewRequest(http.MethodGet, server.URL+"/images", strings.NewReader(body.String()))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	if err == nil {
		t.Error("a lookup that failed looks complete")
	}
}

// What a client asks for in a loop is read once, so that status and entry say
// the same.
func TestLookupReadsOnce(t *testing.T) {
	f := shop()
	server := serve(t, f, Options{})
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		f.calls = 0
		do(t, method, server.URL+"/v1/images/list", `[{"tag":"bob/app"}]`)
		if f.calls != 1 {
			t.Errorf("%s: the catalog was asked %d times", method, f.calls)
		}
	}
}

// An image is answered once, however it is asked for, and read once if it is
// asked for by name; a thousand images may be asked for.
func TestLookupOnce(t *testing.T) {
	f := shop()
	tags := []string{"latest"}
	for i := range maxItems {
		tags = append(tags, fmt.Sprintf("t%04d", i))
	}
	slices.Sort(tags)
	f.entries = append(f.entries, newImage("carol/app", 1, tags...))
	c := &counting{fake: f}
	server := serve(t, c, Options{PublicHost: "r.example.com"})
	d := at("carol/app", 1)
	for name, items := range map[string][]string{
		"spellings": {`{"tag":"carol/app"}`, `{"tag":"carol/app:latest"}`, `{"tagged":"r.example.com/carol/app"}`, `{"tag":"R.EXAMPLE.COM/carol/app"}`,
			`{"tag":"x:1/carol/app:latest"}`},
		"spellings of digests": {`{"digest":"` + d + `"}`, `{"digest":"x:1/` + d + `"}`, `{"digest":"r.example.com/` + d + `"}`},
		"digests and tags": {`{"digest":"` + d + `"}`, `{"digest":"carol/app@` + d + `"}`, `{"tag":"carol/app"}`, `{"tag":"carol/app:t0001"}`,
			`{"digest":"carol/app:t0001@` + d + `"}`, `{"digest":"` + d + `","tag":"carol/app:t0002"}`},
	} {
		a := get(t, server.URL+"/images", "["+strings.Join(items, ",")+"]")
		if a.code != http.StatusOK || a.Status != "success" || !slices.Equal(a.names(), []string{"r.example.com/carol/app"}) {
			t.Errorf("%s: got %d %s", name, a.code, a.raw)
		}
	}
	var items []string
	for i := range maxItems {
		items = append(items, fmt.Sprintf(`{"tag":"carol/app:t%04d"}`, i))
	}
	c.whole = 0
	a := get(t, server.URL+"/images", "["+strings.Join(items, ",")+"]")
	if a.Status != "success" || len(a.names()) != 1 || c.whole != 1 {
		t.Errorf("by each of its tags: got %d %q, %d images, read %d times", a.code, a.Message, len(a.names()), c.whole)
	}
	wantFailure(t, get(t, server.URL+"/images", "["+strings.Join(append(items, `{"tag":"one/more"}`), ",")+"]"), 400, "want at most that many")
	ids := make([]string, maxItems+1)
	for i := range ids {
		ids[i] = id("x/y", i)
	}
	if a := get(t, server.URL+"/images?uuid="+strings.Join(ids[1:], ","), ""); a.code != 404 || len(a.names()) != maxItems {
		t.Errorf("by a thousand UUIDs: got %d %.200s", a.code, a.raw)
	}
	wantFailure(t, get(t, server.URL+"/images?uuid="+strings.Join(ids, ","), ""), 400, "want at most that many")
}

// counting counts the images that are read by name.
type counting struct {
	*fake
	whole int
}

func (c *counting) Tagged(ctx context.Context, repository, tag string) (index.Entry, error) {
	e, err := c.fake.Tagged(ctx, repository, tag)
	if err == nil {
		c.whole++
	}
	return e, err
}

func (c *counting) Entry(ctx context.Context, repository string, dgst digest.Digest) (index.Entry, error) {
	e, err := c.fake.Entry(ctx, repository, dgst)
	if err == nil {
		c.whole++
	}
	return e, err
}

// What the query asks for is not compared with everything the body asks for: a
// thousand of one do not make the other slower by as much.
func TestQueryTimesBody(t *testing.T) {
	f := &fake{}
	var items []string
	for i := range 100 {
		var tags []string
		for j := range 300 {
			tags = append(tags, fmt.Sprintf("t%02d-%03d", i, j))
		}
		e := newImage("alice/app", i, tags...)
		f.entries = append(f.entries, e)
		items = append(items, `{"digest":"`+e.Digest.String()+`"}`)
	}
	body := "[" + strings.Join(items, ",") + "]"
	took := func(n int) time.Duration {
		tags := make([]string, n)
		for i := range tags {
			tags[i] = fmt.Sprintf("alice/app:u%02d-%03d", i/300, i%300)
		}
		r := httptest.NewRequest(http.MethodGet, "/images?tag="+strings.Join(tags, ","), strings.NewReader(body))
		w := httptest.NewRecorder()
		// The thread's own time: what else the machine does is not in it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		begin := threadTime(t)
		New(f, Options{}).ServeHTTP(w, r)
		if took := threadTime(t) - begin; w.Code == http.StatusNotFound {
			return took
		}
		t.Fatalf("%d tags: %d %.200s", n, w.Code, w.Body)
		return 0
	}
	fastest := func(n int) time.Duration { return min(took(n), took(n), took(n), took(n), took(n)) }
	one, thousand := fastest(1), fastest(maxItems)
	t.Logf("one tag takes %v, a thousand %v", one, thousand)
	if thousand > 8*one {
		t.Errorf("a thousand tags take %v, one takes %v", thousand, one)
	}
}
