package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// smallImage is a tiny unikernel of the shop, and what the API says of it.
type smallImage struct {
	fixture
	repository string
	tags       []string
}

func (s smallImage) v1() entryV1 { return s.fixture.v1(s.repository, s.tags...) }
func (s smallImage) current(host string) entryCurrent {
	return s.fixture.current(host, s.repository, s.tags...)
}
func (s smallImage) uuid() string { return uuidOf(s.repository, s.digest) }
func (s smallImage) time(t testing.TB) (at time.Time) {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, s.created)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// pushSmall pushes a bare manifest with a kernel of a few bytes, without a tag
// if there is none.
func pushSmall(t testing.TB, b *Berth, repository, arg, created string, tags ...string) smallImage {
	t.Helper()
	const kernelType = "application/vnd.unikraft.kernel.v1"
	const manifestType = "application/vnd.oci.image.manifest.v1+json"
	config, err := json.Marshal(map[string]any{
		"created": created, "os": "kraftcloud", "architecture": "x86_64",
		"config": map[string]any{"Cmd": []string{"/app", arg}},
	})
	if err != nil {
		t.Fatal(err)
	}
	layer := b.putBlob(t, repository, kernelType, []byte("kernel"))
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType,
		"config": b.putBlob(t, repository, "application/vnd.oci.image.config.v1+json", config),
		"layers": []rawDescriptor{layer},
	})
	if err != nil {
		t.Fatal(err)
	}
	digest := rawDigest(manifest)
	b.putManifest(t, repository, digest, manifestType, manifest)
	for _, tag := range tags {
		b.putManifest(t, repository, tag, manifestType, manifest)
	}
	slices.Sort(tags)
	args := []string{"/app", arg}
	return smallImage{fixture{
		digest: digest, created: created, size: 6, args: args, argsV1: "/app " + arg,
		platforms: []entryPlatform{{
			Digest: digest, OS: "kraftcloud", Architecture: "x86_64", Size: 6,
			Kernel: &entryPart{layer.Digest, 6, kernelType}, ROMs: noROMs, Args: args,
		}},
	}, repository, tags}
}

// pushShop pushes sixty images into repositories whose names are easily taken
// for each other. Two images each have the same time, in different ones.
func pushShop(t testing.TB, b *Berth) []smallImage {
	t.Helper()
	repositories := []string{
		"alice/app", "alice/app2", "alice/app/deep", "alice/app-x", "alicea/app", "bob/app",
		"official/nginx", "official/utils/tunnel", "official/alpine", "officials/app",
	}
	first := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var shop []smallImage
	for i := range 60 {
		// Not in the order of time; fractions of a second count.
		at := first.Add(time.Duration(i*7%15) * 1500 * time.Millisecond)
		if i >= 30 {
			at = at.Add(time.Hour)
		}
		var tags []string
		if i%5 != 0 {
			tags = []string{fmt.Sprintf("v%d", i)}
		}
		if i >= 50 {
			tags = append(tags, "latest")
		}
		shop = append(shop, pushSmall(t, b, repositories[i%len(repositories)], fmt.Sprint(i), at.Format(time.RFC3339Nano), tags...))
	}
	return shop
}

func byNameThenNewest(t testing.TB, shop []smallImage) []smallImage {
	return slices.SortedStableFunc(slices.Values(shop), func(a, b smallImage) int {
		if c := strings.Compare(shortName(a.repository), shortName(b.repository)); c != 0 {
			return c
		}
		return b.time(t).Compare(a.time(t))
	})
}

func byTimeThenUUID(t testing.TB, shop []smallImage) []smallImage {
	return slices.SortedFunc(slices.Values(shop), func(a, b smallImage) int {
		if c := a.time(t).Compare(b.time(t)); c != 0 {
			return c
		}
		return strings.Compare(a.uuid(), b.uuid())
	})
}

func selected(shop []smallImage, keep func(smallImage) bool) (kept []smallImage) {
	for _, s := range shop {
		if keep(s) {
			kept = append(kept, s)
		}
	}
	return kept
}

func reversed(shop []smallImage) []smallImage {
	shop = slices.Clone(shop)
	slices.Reverse(shop)
	return shop
}

// wantShop wants a list in both forms to be these images, in this order.
func wantShop(t testing.TB, b *Berth, query string, want []smallImage) {
	t.Helper()
	var one []entryV1
	var two []entryCurrent
	for _, s := range want {
		one, two = append(one, s.v1()), append(two, s.current(b.Host))
	}
	wantImages(t, b, "/v1/images/list"+query, "", one...)
	wantImages(t, b, "/v1/images"+query, "", two...)
}

func TestLists(t *testing.T) {
	t.Parallel()
	b := start(t)
	shop := pushShop(t, b)
	names, times := byNameThenNewest(t, shop), byTimeThenUUID(t, shop)

	t.Run("all", func(t *testing.T) {
		wantShop(t, b, "", names)
		wantShop(t, b, "?unknown=1&page=2", names)
		for _, query := range []string{"?order=asc", "?order=PAGINATION_ORDER_ASC", "?sortby=create_time", "?sortby=PAGINATION_SORT_BY_CREATE_TIME", "?count=60", "?count=1000"} {
			wantShop(t, b, query, times)
		}
		for _, query := range []string{"?order=desc", "?order=PAGINATION_ORDER_DESC&sortby=create_time"} {
			wantShop(t, b, query, reversed(times))
		}
	})
	t.Run("tagged", func(t *testing.T) {
		tagged := selected(names, func(s smallImage) bool { return len(s.tags) > 0 })
		for _, query := range []string{"?tagged", "?tagged=", "?tagged=true", "?tagged=1"} {
			wantShop(t, b, query, tagged)
		}
		wantShop(t, b, "?tagged=false", names)
		wantShop(t, b, "?tagged=0", names)
		wantShop(t, b, "?tagged&order=asc", selected(times, func(s smallImage) bool { return len(s.tags) > 0 }))
	})
	t.Run("namespace", func(t *testing.T) {
		for namespace, repositories := range map[string][]string{
			"alice":                 {"alice/app", "alice/app2", "alice/app/deep", "alice/app-x"},
			"alice/app":             {"alice/app", "alice/app/deep"},
			"alice/app/deep":        {"alice/app/deep"},
			"alice/app2":            {"alice/app2"},
			"official":              {"official/nginx", "official/utils/tunnel", "official/alpine"},
			"official/utils":        {"official/utils/tunnel"},
			"official/utils/tunnel": {"official/utils/tunnel"},
			"ali":                   nil,
			"alice/ap":              nil,
			"alice/app/deep/er":     nil,
			"carol":                 nil,
		} {
			in := func(s smallImage) bool { return slices.Contains(repositories, s.repository) }
			wantShop(t, b, "?namespace="+url.QueryEscape(namespace), selected(names, in))
			wantShop(t, b, "?order=desc&namespace="+namespace, reversed(selected(times, in)))
			wantShop(t, b, "?order=asc&count=3&namespace="+namespace, firstOf(selected(times, in), 3))
		}
	})
	t.Run("pages", func(t *testing.T) {
		for _, count := range []int{2, 7, 20, 59} {
			wantPages(t, b, fmt.Sprintf("?count=%d", count), count, times)
			wantPages(t, b, fmt.Sprintf("?order=desc&count=%d", count), count, reversed(times))
			inAlice := selected(times, func(s smallImage) bool { return strings.HasPrefix(s.repository, "alice/") })
			wantPages(t, b, fmt.Sprintf("?namespace=alice&count=%d", count), count, inAlice)
		}
	})
	t.Run("from", func(t *testing.T) {
		at := times[20].time(t)
		notBefore := selected(times, func(s smallImage) bool { return !s.time(t).Before(at) })
		notAfter := selected(times, func(s smallImage) bool { return !s.time(t).After(at) })
		after := selected(times, func(s smallImage) bool { return s.time(t).After(at) })
		wantShop(t, b, "?from="+at.Format(time.RFC3339Nano), notBefore)
		wantShop(t, b, "?from="+url.QueryEscape(at.In(time.FixedZone("", 7200)).Format(time.RFC3339Nano)), notBefore)
		wantShop(t, b, "?order=desc&from="+at.Format(time.RFC3339Nano), reversed(notAfter))
		wantShop(t, b, "?from="+at.Add(time.Nanosecond).Format(time.RFC3339Nano), after)
		wantShop(t, b, "?from=2040-01-01T00:00:00Z", nil)
		wantShop(t, b, "?order=desc&from=2000-01-01T00:00:00Z", nil)
		for _, from := range []string{times[20].uuid(), strings.ToUpper(times[20].uuid()), times[20].current(b.Host).URL, times[20].v1().Digest} {
			wantShop(t, b, "?from="+url.QueryEscape(from), times[20:])
			wantShop(t, b, "?order=desc&count=3&from="+url.QueryEscape(from), firstOf(reversed(times[:21]), 3))
		}
		wantNoImage(t, b, "/v1/images?from="+uuidOf("alice/app", helloDigest), "")
	})
}

func firstOf(shop []smallImage, n int) []smallImage { return shop[:min(n, len(shop))] }

// wantPages reads a list page by page, each from the last image of the one
// before, which is included, and wants them together to be the whole.
func wantPages(t testing.TB, b *Berth, query string, count int, want []smallImage) {
	t.Helper()
	from := ""
	for at := 0; ; at += count - 1 {
		if at > 0 && at >= len(want)-1 {
			return
		}
		page := firstOf(want[at:], count)
		wantShop(t, b, query+from, page)
		if t.Failed() {
			return
		}
		from = "&from=" + page[len(page)-1].uuid()
	}
}

func TestLookups(t *testing.T) {
	t.Parallel()
	b := start(t)
	app := pushSmall(t, b, "alice/app", "one", "2026-01-01T00:00:00Z", "latest", "v1")
	twin := pushSmall(t, b, "bob/app", "one", "2026-01-01T00:00:00Z", "v1")
	nginx := pushSmall(t, b, "official/nginx", "two", "2026-01-02T00:00:00+02:00", "latest")
	tunnel := pushSmall(t, b, "official/utils/tunnel", "three", "2026-01-03T00:00:00.25Z", "v2")
	nginx.created = "2026-01-01T22:00:00Z" // the same moment in UTC
	for _, s := range []smallImage{app, nginx, tunnel} {
		wantFixture(t, b, s.fixture, s.repository, s.tags...)
	}

	find := func(body string, want ...smallImage) {
		t.Helper()
		var one []entryV1
		var two []entryCurrent
		for _, s := range want {
			one, two = append(one, s.v1()), append(two, s.current(b.Host))
		}
		wantImages(t, b, "/v1/images/list", body, one...)
		wantImages(t, b, "/images", body, two...)
	}
	find(`{"tag":"alice/app"}`, app) // means latest
	find(`{"tag":"nginx"}`, nginx)
	find(`{"tag":"nginx:latest"}`, nginx)
	find(`{"tag":"official/nginx:latest"}`, nginx)
	find(`{"tag":"utils/tunnel:v2"}`, tunnel)
	find(`{"tag":"`+b.Host+`/utils/tunnel:v2"}`, tunnel)
	find(`{"digest":"`+b.Host+"/nginx@"+nginx.digest+`"}`, nginx)
	find(`{"digest":"`+b.Host+"/"+nginx.digest+`"}`, nginx)
	find(`{"digest":"utils/tunnel@`+tunnel.digest+`"}`, tunnel)
	// The same bytes in two repositories are two images.
	find(`{"digest":"`+app.digest+`"}`, app, twin)
	find(`{"digest":"`+app.digest+`","tag":"bob/app:v1"}`, twin)
	find(`[{"tag":"nginx"},{"digest":"alice/app@`+app.digest+`"},{"tag":"bob/app:v1"}]`, nginx, app, twin)
	find(`[{"tag":"nginx"},{"tag":"nginx"}]`, nginx)
	wantImages(t, b, "/v1/images?uuid="+tunnel.uuid()+","+app.uuid(), "", tunnel.current(b.Host), app.current(b.Host))
	wantImages(t, b, "/v1/images/list?uuid="+tunnel.uuid()+"&uuid="+app.uuid(), "[]", tunnel.v1(), app.v1())
	wantImages(t, b, "/v1/images/list?namespace=bob", `{"digest":"`+app.digest+`"}`, twin.v1())

	for _, body := range []string{
		`{"tag":"bob/app"}`, `{"tag":"tunnel:v2"}`, `{"tag":"nginx:v1"}`, `{"tag":"alice/nginx"}`,
		`{"digest":"bob/nginx@` + nginx.digest + `"}`, `{"digest":"` + helloDigest + `"}`,
		`{"tag":"alice/app:v1","digest":"` + nginx.digest + `"}`,
	} {
		wantNoImage(t, b, "/v1/images/list", body)
		wantNoImage(t, b, "/v1/images", body)
	}
	wantNoImage(t, b, "/v1/images?uuid="+uuidOf("alice/absent", app.digest), "")
	wantNoImage(t, b, "/v1/images?namespace=bob", `{"tag":"alice/app"}`)
	testPartly(t, b, app)
}

// testPartly asks for several images of which some, or all, do not exist.
func testPartly(t *testing.T, b *Berth, app smallImage) {
	a := askAPI(t, b, "/v1/images/list", `[{"tag":"alice/none:v1"},{"tag":"alice/app:v1"},{"digest":"`+helloDigest+`"}]`)
	if a.code != http.StatusOK || a.Status != "partial_success" || a.Message == "" || a.Errors != nil || a.Data == nil || len(a.Data.Images) != 3 {
		t.Fatalf("want a partial success with three entries, got %d %s", a.code, a.raw)
	}
	sameEntry(t, "the image that exists", a.Data.Images[1], app.v1())
	for i, want := range map[int]entryMissing{0: {Tag: "alice/none:v1"}, 2: {Digest: helloDigest}} {
		var got entryMissing
		decodeStrictly(t, a.Data.Images[i], &got)
		want.Status, want.Error, want.Message = "error", 8, got.Message
		if got != want || got.Message == "" {
			t.Errorf("entry %d is %s", i, a.Data.Images[i])
		}
	}
	absent := uuidOf("alice/absent", app.digest)
	a = askAPI(t, b, "/v1/images?uuid="+app.uuid()+","+absent, "")
	if a.code != http.StatusOK || a.Status != "partial_success" || len(a.Data.Images) != 2 || !strings.Contains(string(a.Data.Images[1]), `"uuid":"`+absent+`"`) {
		t.Errorf("want a partial success with the UUID, got %d %s", a.code, a.raw)
	}
	a = askAPI(t, b, "/v1/images", `[{"tag":"alice/none"},{"tag":"bob/none"}]`)
	if a.code != http.StatusNotFound || a.Status != "error" || a.Data == nil || len(a.Data.Images) != 2 {
		t.Errorf("want a 404 with two entries, got %d %s", a.code, a.raw)
	}
}

// TestRefusals asks for what the API does not have.
func TestRefusals(t *testing.T) {
	t.Parallel()
	b := start(t)
	pushSmall(t, b, "alice/app", "one", "2026-01-01T00:00:00Z", "latest")
	for _, test := range []struct {
		method, path, body string
		code               int
		says               string // a part of the message
	}{
		{http.MethodPost, "/v1/images", "", 405, "GET"},
		{http.MethodDelete, "/v1/images/list", "", 405, "GET"},
		{http.MethodPut, "/images", "", 405, "GET"},
		{http.MethodGet, "/v1/", "", 404, "/v1/images"},
		{http.MethodGet, "/v1/instances", "", 404, "/v1/images"},
		{http.MethodGet, "/v1/images/list/", "", 404, "/v1/images"},
		{http.MethodGet, "/v1/images?namespace=Alice", "", 400, "namespace"},
		{http.MethodGet, "/v1/images?tagged=perhaps", "", 400, "tagged"},
		{http.MethodGet, "/v1/images?count=0", "", 400, "count"},
		{http.MethodGet, "/v1/images?count=-1", "", 400, "count"},
		{http.MethodGet, "/v1/images?order=up", "", 400, "order"},
		{http.MethodGet, "/v1/images?sortby=size", "", 400, "sortby"},
		{http.MethodGet, "/v1/images?from=yesterday", "", 400, "from"},
		{http.MethodGet, "/v1/images?uuid=7", "", 400, "uuid"},
		{http.MethodGet, "/v1/images", `{"digest":"sha256:xyz"}`, 400, "digest"},
		{http.MethodGet, "/v1/images", `{"tag":"alice/app:-"}`, 400, "tag"},
		{http.MethodGet, "/v1/images", `{"tag":7}`, 400, "tag"},
		{http.MethodGet, "/v1/images", `[{"tag":"alice/app"},{"tag":"A"}]`, 400, "item 2"},
		{http.MethodGet, "/v1/images", `{"tag":`, 400, "body"},
	} {
		a := sendAPI(t, b, test.method, test.path, test.body)
		if a.code != test.code || a.Status != "error" || a.Data != nil || len(a.Errors) != 1 || a.Errors[0].Status != test.code || !strings.Contains(a.Message, test.says) {
			t.Errorf("%s %s %s: got %d %s", test.method, test.path, test.body, a.code, a.raw)
		}
		if allow := a.header.Get("Allow"); (test.code == 405) != (allow == "GET, HEAD") {
			t.Errorf("%s %s: Allow is %q", test.method, test.path, allow)
		}
	}
	for path, code := range map[string]int{"/v1/images": 200, "/v1/images/list?tag=alice/app": 200, "/v1/image-store?tag=alice/none": 404, "/v1/none": 404} {
		if a := b.must(t, code, http.MethodHead, path, nil); len(a.body) > 0 {
			t.Errorf("HEAD %s: has the body %q", path, a.body)
		}
	}
	// A body is read whatever the client calls it.
	for _, contentType := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"} {
		if a := sendAPI(t, b, http.MethodGet, "/v1/images", `{ 'tag': 'alice/app' }`, "Content-Type", contentType); a.code != 200 || len(a.Data.Images) != 1 {
			t.Errorf("%s: got %d %s", contentType, a.code, a.raw)
		}
	}
}
