package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// linked reads a list page by page, by the links, and wants each page to have at
// most count images, and only the last one none behind it.
func linked(t testing.TB, c *harness.Client, target string, count int) (urls []string) {
	t.Helper()
	for pages := 0; target != ""; pages++ {
		if pages > 100 {
			t.Fatal("the list does not end")
		}
		a := c.Must(t, http.StatusOK, http.MethodGet, target, nil)
		var answer struct {
			Data struct {
				Images []struct{ URL, Digest string }
			}
		}
		if err := json.Unmarshal(a.Body, &answer); err != nil {
			t.Fatal(err)
		}
		for _, image := range answer.Data.Images {
			urls = append(urls, image.URL+image.Digest)
		}
		next := harness.NextPage(t, a)
		if n := len(answer.Data.Images); n > count || n < count && next != "" || n == 0 && pages > 0 {
			t.Errorf("%s has %d images, and a next page: %q", target, n, next)
		}
		if head := c.Must(t, http.StatusOK, http.MethodHead, target, nil); (harness.NextPage(t, head) == "") != (next == "") {
			t.Errorf("HEAD %s links to %q", target, head.Header.Get("Link"))
		}
		target = next
	}
	return urls
}

func urlsOf(shop []harness.SmallImage, host string) (urls []string) {
	for _, s := range shop {
		urls = append(urls, s.Current(host).URL)
	}
	return urls
}

func TestPagesByLink(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	shop := pushShop(t, b)
	times := byTimeThenUUID(t, shop)
	isTagged := func(s harness.SmallImage) bool { return len(s.Tags) > 0 }
	in := func(namespaces ...string) func(harness.SmallImage) bool {
		return func(s harness.SmallImage) bool {
			return slices.ContainsFunc(namespaces, func(n string) bool { return s.Repository == n || strings.HasPrefix(s.Repository, n+"/") })
		}
	}
	for _, test := range []struct {
		query string
		want  []harness.SmallImage
	}{
		{"", times},
		{"&order=desc", reversed(times)},
		{"&tagged&order=desc", reversed(selected(times, isTagged))},
		{"&namespace=alice&namespace=official%2Futils&namespace=alice", selected(times, in("alice", "official/utils"))},
		{`&namespace\=bob\&tagged\=0`, selected(times, in("bob"))},
		{"&namespace=carol", nil},
		{"&after=" + times[20].UUID(), times[21:]},
		{"&order=desc&after=" + url.QueryEscape(times[20].Current(b.Host).URL), reversed(times[:20])},
		{"&from=" + times[20].UUID(), times[20:]},
	} {
		for _, count := range []int{1, 7, 59, 60, 61} {
			if got := linked(t, b.Client, fmt.Sprintf("/v1/images?count=%d%s", count, test.query), count); !slices.Equal(got, urlsOf(test.want, b.Host)) {
				t.Errorf("count=%d%s: got %d images, want %d:\n%v", count, test.query, len(got), len(test.want), got)
			}
		}
	}
	if got := linked(t, b.Client, "/v1/images/list?count=7", 7); len(got) != 60 || got[0] != times[0].V1().Digest {
		t.Errorf("in the first version's form: %v", got)
	}
	// A list that is no page has no link.
	for _, query := range []string{"", "?order=asc", "?from=" + times[3].UUID(), "?uuid=" + times[3].UUID() + "&count=1"} {
		if link := b.Must(t, http.StatusOK, http.MethodGet, "/v1/images"+query, nil).Header.Get("Link"); link != "" {
			t.Errorf("%q links to %s", query, link)
		}
	}
	testAfter(t, b, times)
	testBadAfter(t, b)
}

// testAfter wants what after names to be left out, whatever it is.
func testAfter(t *testing.T, b *harness.Berth, times []harness.SmallImage) {
	at := times[20].Time(t)
	later := selected(times, func(s harness.SmallImage) bool { return s.Time(t).After(at) })
	earlier := selected(times, func(s harness.SmallImage) bool { return s.Time(t).Before(at) })
	instant := url.QueryEscape(at.Format("2006-01-02T15:04:05.999999999Z07:00"))
	wantShop(t, b, "?after="+instant, later)
	wantShop(t, b, "?order=desc&after="+instant, reversed(earlier))
	for _, after := range []string{times[20].UUID(), strings.ToUpper(times[20].UUID()), times[20].Current(b.Host).URL, times[20].V1().Digest} {
		wantShop(t, b, "?after="+url.QueryEscape(after), times[21:])
		wantShop(t, b, "?order=desc&count=3&after="+url.QueryEscape(after), firstOf(reversed(times[:20]), 3))
	}
	wantShop(t, b, "?after="+times[59].UUID(), nil)
	harness.WantNoImage(t, b, "/v1/images?after="+harness.UUIDOf("alice/app", harness.HelloDigest), "")
}

// testBadAfter goes on with what no page has linked to, or another list's.
func testBadAfter(t *testing.T, b *harness.Berth) {
	cursorOf := func(query string) string {
		next, err := url.Parse(harness.NextPage(t, b.Must(t, http.StatusOK, http.MethodGet, "/v1/images?count=2"+query, nil)))
		if err != nil {
			t.Fatal(err)
		}
		return next.Query().Get("after")
	}
	good := cursorOf("")
	turned := []byte(good)
	turned[len(turned)/2] ^= 1
	for _, query := range []string{
		"&after=c1.", "&after=c1.AAAA", "&after=c2." + good[3:], "&after=" + good[:len(good)-1], "&after=" + good + "A", "&after=" + string(turned),
		"&tagged&after=" + good, "&order=desc&after=" + good, "&namespace=alice&after=" + good,
		"&namespace=bob&after=" + cursorOf("&namespace=alice"), "&after=" + cursorOf("&order=desc"),
		"&after=2", "&after=", "&after=" + strings.Repeat("A", 4000),
	} {
		a := harness.AskImages(t, b, "/v1/images?count=2"+query, "")
		if a.Code != http.StatusBadRequest || len(a.Errors) != 1 || !strings.Contains(a.Message, "query parameter after: ") || !strings.Contains(a.Message, "; want ") || len(a.Raw) > 1000 {
			t.Errorf("%.100s: %d %s", query, a.Code, a.Raw)
		}
	}
	// It tells nothing, and is good after a restart, with another count.
	if strings.Contains(good, "alice") || len(good) > 1000 {
		t.Errorf("the cursor is %s", good)
	}
	b.Stop()
	b.Restart()
	if got := linked(t, b.Client, "/v1/images?count=50&after="+good, 50); len(got) != 58 {
		t.Errorf("after a restart %d images follow, want 58", len(got))
	}
}

// TestPagesWhileImagesMove pushes and deletes between pages: what is there all the
// time is on one of them, once.
func TestPagesWhileImagesMove(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	shop := pushShop(t, b)
	times := byTimeThenUUID(t, shop)
	gone := map[string]bool{}
	var got []string
	at := 0
	for target := "/v1/images?count=7"; target != ""; at++ {
		a := b.Must(t, http.StatusOK, http.MethodGet, target, nil)
		var answer struct {
			Data struct{ Images []struct{ URL string } }
		}
		if err := json.Unmarshal(a.Body, &answer); err != nil {
			t.Fatal(err)
		}
		for _, image := range answer.Data.Images {
			got = append(got, image.URL)
		}
		target = harness.NextPage(t, a)
		// The last image of the page goes, and one that is still to come; others come.
		for _, i := range []int{min(len(got), len(times)) - 1, len(times) - 1 - at} {
			s := times[i]
			if url := s.Current(b.Host).URL; !gone[url] {
				gone[url] = true
				b.Must(t, http.StatusAccepted, http.MethodDelete, "/v2/"+s.Repository+"/manifests/"+s.Digest, nil)
			}
		}
		harness.PushSmall(t, b, "carol/app", fmt.Sprint("early", at), "2025-01-01T00:00:00Z")
		harness.PushSmall(t, b, "carol/app", fmt.Sprint("late", at), "2027-01-01T00:00:00Z")
		if at > 40 {
			t.Fatal("the list does not end")
		}
	}
	seen := map[string]int{}
	for _, url := range got {
		if seen[url]++; seen[url] > 1 {
			t.Errorf("%s is listed twice", url)
		}
	}
	for _, s := range times {
		if url := s.Current(b.Host).URL; seen[url] == 0 && !gone[url] {
			t.Errorf("%s is missing", url)
		}
	}
}

// TestSeveralNamespaces lists several namespaces at once, in both forms.
func TestSeveralNamespaces(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	shop := pushShop(t, b)
	names := byNameThenNewest(t, shop)
	for query, repositories := range map[string][]string{
		"?namespace=bob&namespace=alice/app":                 {"alice/app", "alice/app/deep", "bob/app"},
		"?namespace=alice/app&namespace=alice/app/deep":      {"alice/app", "alice/app/deep"},
		"?namespace=official&namespace=officials":            {"official/nginx", "official/utils/tunnel", "official/alpine", "officials/app"},
		"?namespace=carol&namespace=bob":                     {"bob/app"},
		`?namespace\=bob\&namespace\=officials`:              {"bob/app", "officials/app"},
		"?namespace=bob&namespace=bob&namespace=bob":         {"bob/app"},
		"?namespace=official%2Fnginx&namespace=alice%2Fapp2": {"official/nginx", "alice/app2"},
	} {
		wantShop(t, b, query, selected(names, func(s harness.SmallImage) bool { return slices.Contains(repositories, s.Repository) }))
	}
	// A lookup is limited by them likewise.
	one := shop[0]
	harness.WantImages(t, b, "/v1/images?namespace=bob&namespace=alice", `{"digest":"`+one.V1().Digest+`"}`, one.Current(b.Host))
	harness.WantNoImage(t, b, "/v1/images?namespace=bob&namespace=official", `{"digest":"`+one.V1().Digest+`"}`)
}

// TestByUUID asks for images by their UUID, in the path and in bodies.
func TestByUUID(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	app := harness.PushSmall(t, b, "alice/app", "one", "2026-01-01T00:00:00Z", "latest")
	nginx := harness.PushSmall(t, b, "official/nginx", "two", "2026-01-02T00:00:00Z", "v1")
	harness.WantImages(t, b, "/v1/images/"+app.UUID(), "", app.Current(b.Host))
	harness.WantImages(t, b, "/v1/images/"+strings.ToUpper(app.UUID())+"?namespace=alice&tagged", "[]", app.Current(b.Host))
	harness.WantImages(t, b, "/v1/images/"+app.UUID()+"?tag=alice/app", "", app.Current(b.Host))
	none := harness.UUIDOf("alice/app", nginx.Digest)
	for _, target := range []string{none, app.UUID() + "?namespace=bob", app.UUID() + "?tag=alice/app:v2", app.UUID() + "?uuid=" + nginx.UUID()} {
		harness.WantNoImage(t, b, "/v1/images/"+target, "")
	}
	a := harness.AskImages(t, b, "/v1/images/"+app.UUID(), `{"tag":"nginx:v1"}`)
	if a.Code != http.StatusBadRequest || !strings.Contains(a.Message, "want no body here") {
		t.Errorf("with a body: %d %s", a.Code, a.Raw)
	}
	for _, path := range []string{app.UUID()[1:], app.UUID() + "/", "{" + app.UUID() + "}", strings.ReplaceAll(app.UUID(), "-", ""), "urn:uuid:" + app.UUID()} {
		if a := harness.AskImages(t, b, "/v1/images/"+path, ""); a.Code != http.StatusNotFound || !strings.Contains(a.Message, "is not part of the API") {
			t.Errorf("%s: %d %s", path, a.Code, a.Raw)
		}
	}

	for body, want := range map[string][]harness.SmallImage{
		`{"uuid":"` + app.UUID() + `"}`: {app},
		`[{"uuid":"` + nginx.UUID() + `"},{"tag":"alice/app"},{"uuid":"` + strings.ToUpper(nginx.UUID()) + `"}]`: {nginx, app},
		`[{"tag":"alice/app"},{"uuid":"` + app.UUID() + `"}]`:                                                    {app},
		`{"uuid":"` + nginx.UUID() + `","tag":"nginx:v1","digest":"` + nginx.Digest + `"}`:                       {nginx},
		`{ 'uuid': '` + app.UUID() + `', 'digest': '` + app.Digest + `' }`:                                       {app},
	} {
		var one []harness.EntryV1
		var two []harness.EntryCurrent
		for _, s := range want {
			one, two = append(one, s.V1()), append(two, s.Current(b.Host))
		}
		harness.WantImages(t, b, "/v1/images/list", body, one...)
		harness.WantImages(t, b, "/v1/image-store", body, two...)
	}
	for _, body := range []string{
		`{"uuid":"` + none + `"}`, `{"uuid":"` + app.UUID() + `","tag":"nginx:v1"}`, `{"uuid":"` + app.UUID() + `","tag":"alice/app:v2"}`,
		`{"uuid":"` + app.UUID() + `","digest":"` + nginx.Digest + `"}`,
	} {
		harness.WantNoImage(t, b, "/v1/images", body)
	}
	a = harness.AskImages(t, b, "/v1/images", `[{"uuid":"`+none+`"},{"uuid":"`+app.UUID()+`"}]`)
	if a.Code != http.StatusOK || a.Status != "partial_success" || len(a.Data.Images) != 2 || !strings.Contains(string(a.Data.Images[0]), `"error":8,"uuid":"`+none+`"`) {
		t.Errorf("one of two: %d %s", a.Code, a.Raw)
	}
}

// TestNewRefusals gives every parameter that lists have besides a value that makes
// no sense, and each says what it wants.
func TestNewRefusals(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	harness.PushSmall(t, b, "alice/app", "one", "2026-01-01T00:00:00Z", "latest")
	for _, test := range [][3]string{
		{"?namespace=alice&namespace=Bob", "", `query parameter namespace: "Bob" is not a namespace; want user`},
		{"?details=all", "", `query parameter details: "all" is not a flag; want it alone`},
		{"?details=true&details=false", "", "query parameter details: given as"},
		{"?details=true&count=2", "", "query parameter details: it lists repositories; want with it no more than namespace and tagged"},
		{"?details=true&order=asc", "", "query parameter details: it lists"},
		{"?details=true&tag=alice/app", "", "query parameter details: it lists"},
		{"?details=false&uuid=" + harness.UUIDOf("a", "b"), "", "query parameter details: it lists"},
		{"?details", `{"tag":"alice/app"}`, "query parameter details: it lists"},
		{"?detials=true", "", "query parameter detials: not known; did you mean details?"},
		{"?aftr=x", "", "query parameter aftr: not known; did you mean after?"},
		{"?after=yesterday", "", `query parameter after: "yesterday" is no place in the list; want the uuid`},
		{"?after=a/b@sha256:1", "", `query parameter after: "a/b@sha256:1" is not a digest; want sha256:`},
		{"?after=2026-01-01T00:00:00Z&from=2026-01-01T00:00:00Z", "", "query parameters from and after: both are given; want one"},
		{"", `{"uuid":"x"}`, `body: uuid: "x" is not a UUID; want a UUID such as`},
		{"", `[{"tag":"alice/app"},{"uuid":true}]`, "body: item 2: uuid is not a string; want a UUID such as"},
		{"", `{"uid":"x"}`, "body: key uid is not known; did you mean uuid?"},
	} {
		for _, path := range []string{"/v1/images", "/images"} {
			a := harness.AskImages(t, b, path+test[0], test[1])
			if a.Code != http.StatusBadRequest || a.Status != "error" || a.Data != nil || len(a.Errors) != 1 || a.Errors[0].Status != 400 || !strings.Contains(a.Message, test[2]) {
				t.Errorf("%s%s %s: %d %s", path, test[0], test[1], a.Code, a.Raw)
			}
		}
	}
}
