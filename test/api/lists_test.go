// Package api tests the images API: lists, lookups, and what it refuses.
package api

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
)

// pushShop pushes sixty images into repositories whose names are easily taken
// for each other. Two images each have the same time, in different ones.
func pushShop(t testing.TB, b *harness.Berth) []harness.SmallImage {
	t.Helper()
	repositories := []string{
		"alice/app", "alice/app2", "alice/app/deep", "alice/app-x", "alicea/app", "bob/app",
		"official/nginx", "official/utils/tunnel", "official/alpine", "officials/app",
	}
	first := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var shop []harness.SmallImage
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
		shop = append(shop, harness.PushSmall(t, b, repositories[i%len(repositories)], fmt.Sprint(i), at.Format(time.RFC3339Nano), tags...))
	}
	return shop
}

func byNameThenNewest(t testing.TB, shop []harness.SmallImage) []harness.SmallImage {
	return slices.SortedStableFunc(slices.Values(shop), func(a, b harness.SmallImage) int {
		if c := strings.Compare(harness.ShortName(a.Repository), harness.ShortName(b.Repository)); c != 0 {
			return c
		}
		return b.Time(t).Compare(a.Time(t))
	})
}

func byTimeThenUUID(t testing.TB, shop []harness.SmallImage) []harness.SmallImage {
	return slices.SortedFunc(slices.Values(shop), func(a, b harness.SmallImage) int {
		if c := a.Time(t).Compare(b.Time(t)); c != 0 {
			return c
		}
		return strings.Compare(a.UUID(), b.UUID())
	})
}

func selected(shop []harness.SmallImage, keep func(harness.SmallImage) bool) (kept []harness.SmallImage) {
	for _, s := range shop {
		if keep(s) {
			kept = append(kept, s)
		}
	}
	return kept
}

func reversed(shop []harness.SmallImage) []harness.SmallImage {
	shop = slices.Clone(shop)
	slices.Reverse(shop)
	return shop
}

// wantShop wants a list in both forms to be these images, in this order.
func wantShop(t testing.TB, b *harness.Berth, query string, want []harness.SmallImage) {
	t.Helper()
	var one []harness.EntryV1
	var two []harness.EntryCurrent
	for _, s := range want {
		one, two = append(one, s.V1()), append(two, s.Current(b.Host))
	}
	harness.WantImages(t, b, "/v1/images/list"+query, "", one...)
	harness.WantImages(t, b, "/v1/images"+query, "", two...)
}

func TestLists(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
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
		tagged := selected(names, func(s harness.SmallImage) bool { return len(s.Tags) > 0 })
		for _, query := range []string{"?tagged", "?tagged=", "?tagged=true", "?tagged=1"} {
			wantShop(t, b, query, tagged)
		}
		wantShop(t, b, "?tagged=false", names)
		wantShop(t, b, "?tagged=0", names)
		wantShop(t, b, "?tagged&order=asc", selected(times, func(s harness.SmallImage) bool { return len(s.Tags) > 0 }))
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
			in := func(s harness.SmallImage) bool { return slices.Contains(repositories, s.Repository) }
			wantShop(t, b, "?namespace="+url.QueryEscape(namespace), selected(names, in))
			wantShop(t, b, "?order=desc&namespace="+namespace, reversed(selected(times, in)))
			wantShop(t, b, "?order=asc&count=3&namespace="+namespace, firstOf(selected(times, in), 3))
		}
	})
	t.Run("pages", func(t *testing.T) {
		for _, count := range []int{2, 7, 20, 59} {
			wantPages(t, b, fmt.Sprintf("?count=%d", count), count, times)
			wantPages(t, b, fmt.Sprintf("?order=desc&count=%d", count), count, reversed(times))
			inAlice := selected(times, func(s harness.SmallImage) bool { return strings.HasPrefix(s.Repository, "alice/") })
			wantPages(t, b, fmt.Sprintf("?namespace=alice&count=%d", count), count, inAlice)
		}
	})
	t.Run("from", func(t *testing.T) {
		at := times[20].Time(t)
		notBefore := selected(times, func(s harness.SmallImage) bool { return !s.Time(t).Before(at) })
		notAfter := selected(times, func(s harness.SmallImage) bool { return !s.Time(t).After(at) })
		after := selected(times, func(s harness.SmallImage) bool { return s.Time(t).After(at) })
		wantShop(t, b, "?from="+at.Format(time.RFC3339Nano), notBefore)
		wantShop(t, b, "?from="+url.QueryEscape(at.In(time.FixedZone("", 7200)).Format(time.RFC3339Nano)), notBefore)
		wantShop(t, b, "?order=desc&from="+at.Format(time.RFC3339Nano), reversed(notAfter))
		wantShop(t, b, "?from="+at.Add(time.Nanosecond).Format(time.RFC3339Nano), after)
		wantShop(t, b, "?from=2040-01-01T00:00:00Z", nil)
		wantShop(t, b, "?order=desc&from=2000-01-01T00:00:00Z", nil)
		for _, from := range []string{times[20].UUID(), strings.ToUpper(times[20].UUID()), times[20].Current(b.Host).URL, times[20].V1().Digest} {
			wantShop(t, b, "?from="+url.QueryEscape(from), times[20:])
			wantShop(t, b, "?order=desc&count=3&from="+url.QueryEscape(from), firstOf(reversed(times[:21]), 3))
		}
		harness.WantNoImage(t, b, "/v1/images?from="+harness.UUIDOf("alice/app", harness.HelloDigest), "")
	})
}

func firstOf(shop []harness.SmallImage, n int) []harness.SmallImage { return shop[:min(n, len(shop))] }

// wantPages reads a list page by page, each from the last image of the one
// before, which is included, and wants them together to be the whole.
func wantPages(t testing.TB, b *harness.Berth, query string, count int, want []harness.SmallImage) {
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
		from = "&from=" + page[len(page)-1].UUID()
	}
}

func TestLookups(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	app := harness.PushSmall(t, b, "alice/app", "one", "2026-01-01T00:00:00Z", "latest", "v1")
	twin := harness.PushSmall(t, b, "bob/app", "one", "2026-01-01T00:00:00Z", "v1")
	nginx := harness.PushSmall(t, b, "official/nginx", "two", "2026-01-02T00:00:00+02:00", "latest")
	tunnel := harness.PushSmall(t, b, "official/utils/tunnel", "three", "2026-01-03T00:00:00.25Z", "v2")
	nginx.Created = "2026-01-01T22:00:00Z" // the same moment in UTC
	for _, s := range []harness.SmallImage{app, nginx, tunnel} {
		harness.WantFixture(t, b, s.Fixture, s.Repository, s.Tags...)
	}

	find := func(body string, want ...harness.SmallImage) {
		t.Helper()
		var one []harness.EntryV1
		var two []harness.EntryCurrent
		for _, s := range want {
			one, two = append(one, s.V1()), append(two, s.Current(b.Host))
		}
		harness.WantImages(t, b, "/v1/images/list", body, one...)
		harness.WantImages(t, b, "/images", body, two...)
	}
	find(`{"tag":"alice/app"}`, app) // means latest
	find(`{"tag":"nginx"}`, nginx)
	find(`{"tag":"nginx:latest"}`, nginx)
	find(`{"tag":"official/nginx:latest"}`, nginx)
	find(`{"tag":"utils/tunnel:v2"}`, tunnel)
	find(`{"tag":"`+b.Host+`/utils/tunnel:v2"}`, tunnel)
	find(`{"digest":"`+b.Host+"/nginx@"+nginx.Digest+`"}`, nginx)
	find(`{"digest":"`+b.Host+"/"+nginx.Digest+`"}`, nginx)
	find(`{"digest":"utils/tunnel@`+tunnel.Digest+`"}`, tunnel)
	// The same bytes in two repositories are two images.
	find(`{"digest":"`+app.Digest+`"}`, app, twin)
	find(`{"digest":"`+app.Digest+`","tag":"bob/app:v1"}`, twin)
	find(`[{"tag":"nginx"},{"digest":"alice/app@`+app.Digest+`"},{"tag":"bob/app:v1"}]`, nginx, app, twin)
	find(`[{"tag":"nginx"},{"tag":"nginx"}]`, nginx)
	harness.WantImages(t, b, "/v1/images?uuid="+tunnel.UUID()+","+app.UUID(), "", tunnel.Current(b.Host), app.Current(b.Host))
	harness.WantImages(t, b, "/v1/images/list?uuid="+tunnel.UUID()+"&uuid="+app.UUID(), "[]", tunnel.V1(), app.V1())
	harness.WantImages(t, b, "/v1/images/list?namespace=bob", `{"digest":"`+app.Digest+`"}`, twin.V1())

	for _, body := range []string{
		`{"tag":"bob/app"}`, `{"tag":"tunnel:v2"}`, `{"tag":"nginx:v1"}`, `{"tag":"alice/nginx"}`,
		`{"digest":"bob/nginx@` + nginx.Digest + `"}`, `{"digest":"` + harness.HelloDigest + `"}`,
		`{"tag":"alice/app:v1","digest":"` + nginx.Digest + `"}`,
	} {
		harness.WantNoImage(t, b, "/v1/images/list", body)
		harness.WantNoImage(t, b, "/v1/images", body)
	}
	harness.WantNoImage(t, b, "/v1/images?uuid="+harness.UUIDOf("alice/absent", app.Digest), "")
	harness.WantNoImage(t, b, "/v1/images?namespace=bob", `{"tag":"alice/app"}`)
	testPartly(t, b, app)
}

// testPartly asks for several images of which some, or all, do not exist.
func testPartly(t *testing.T, b *harness.Berth, app harness.SmallImage) {
	a := harness.AskImages(t, b, "/v1/images/list", `[{"tag":"alice/none:v1"},{"tag":"alice/app:v1"},{"digest":"`+harness.HelloDigest+`"}]`)
	if a.Code != http.StatusOK || a.Status != "partial_success" || a.Message == "" || a.Errors != nil || a.Data == nil || len(a.Data.Images) != 3 {
		t.Fatalf("want a partial success with three entries, got %d %s", a.Code, a.Raw)
	}
	harness.SameEntry(t, "the image that exists", a.Data.Images[1], app.V1())
	for i, want := range map[int]harness.EntryMissing{0: {Tag: "alice/none:v1"}, 2: {Digest: harness.HelloDigest}} {
		var got harness.EntryMissing
		harness.DecodeStrictly(t, a.Data.Images[i], &got)
		want.Status, want.Error, want.Message = "error", 8, got.Message
		if got != want || got.Message == "" {
			t.Errorf("entry %d is %s", i, a.Data.Images[i])
		}
	}
	absent := harness.UUIDOf("alice/absent", app.Digest)
	a = harness.AskImages(t, b, "/v1/images?uuid="+app.UUID()+","+absent, "")
	if a.Code != http.StatusOK || a.Status != "partial_success" || len(a.Data.Images) != 2 || !strings.Contains(string(a.Data.Images[1]), `"uuid":"`+absent+`"`) {
		t.Errorf("want a partial success with the UUID, got %d %s", a.Code, a.Raw)
	}
	a = harness.AskImages(t, b, "/v1/images", `[{"tag":"alice/none"},{"tag":"bob/none"}]`)
	if a.Code != http.StatusNotFound || a.Status != "error" || a.Data == nil || len(a.Data.Images) != 2 {
		t.Errorf("want a 404 with two entries, got %d %s", a.Code, a.Raw)
	}
}

// TestRefusals asks for what the API does not have.
func TestRefusals(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	harness.PushSmall(t, b, "alice/app", "one", "2026-01-01T00:00:00Z", "latest")
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
		a := harness.SendImages(t, b, test.method, test.path, test.body)
		if a.Code != test.code || a.Status != "error" || a.Data != nil || len(a.Errors) != 1 || a.Errors[0].Status != test.code || !strings.Contains(a.Message, test.says) {
			t.Errorf("%s %s %s: got %d %s", test.method, test.path, test.body, a.Code, a.Raw)
		}
		if allow := a.Header.Get("Allow"); (test.code == 405) != (allow == "GET, HEAD") {
			t.Errorf("%s %s: Allow is %q", test.method, test.path, allow)
		}
	}
	for path, code := range map[string]int{"/v1/images": 200, "/v1/images/list?tag=alice/app": 200, "/v1/image-store?tag=alice/none": 404, "/v1/none": 404} {
		if a := b.Must(t, code, http.MethodHead, path, nil); len(a.Body) > 0 {
			t.Errorf("HEAD %s: has the body %q", path, a.Body)
		}
	}
	// A body is read whatever the client calls it.
	for _, contentType := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"} {
		if a := harness.SendImages(t, b, http.MethodGet, "/v1/images", `{ 'tag': 'alice/app' }`, "Content-Type", contentType); a.Code != 200 || len(a.Data.Images) != 1 {
			t.Errorf("%s: got %d %s", contentType, a.Code, a.Raw)
		}
	}
}
