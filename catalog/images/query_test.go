package images

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-oci/berth/storage/reference"
)

const (
	uuidA = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
	uuidB = "6ba7b811-9dad-11d1-80b4-00c04fd430c8"
)

func TestParseQuery(t *testing.T) {
	at := time.Date(2026, 1, 31, 10, 0, 0, 500, time.UTC)
	for _, test := range []struct {
		raw  string
		want query
		err  string
	}{
		{raw: ""},
		{raw: "&&&"},
		{raw: "unknown=%zz&whatever=true&%zz=1"},
		{raw: "Namespace=alice", err: "query parameter Namespace: not known; did you mean namespace?"},

		{raw: "namespace=alice", want: query{namespaces: []string{"alice"}}},
		{raw: "namespace=alice%2Fapp", want: query{namespaces: []string{"alice/app"}}},
		{raw: "namespace=alice/app&namespace=alice/app", want: query{namespaces: []string{"alice/app"}}},
		{raw: "namespace=official", want: query{namespaces: []string{"official"}}},
		{raw: `namespace\=alice\&tagged`, want: query{namespaces: []string{"alice"}, tagged: true}},
		{raw: `namespace%5C=alice%5C&tagged%5C`, want: query{namespaces: []string{"alice"}, tagged: true}},
		{raw: `namespace\=alice\&tagged\=false`, want: query{namespaces: []string{"alice"}}},
		{raw: "namespace=", err: "query parameter namespace: \"\" is not a namespace; want user"},
		{raw: "namespace", err: "namespace"},
		{raw: "namespace=Alice", err: "namespace"},
		{raw: "namespace=alice/", err: "namespace"},
		{raw: "namespace=/alice", err: "namespace"},
		{raw: "namespace=alice/../bob", err: "namespace"},
		{raw: "namespace=alice;tagged", err: "namespace"},
		{raw: "namespace=alice\\\\", err: "namespace"},
		{raw: "namespace=alice&namespace=bob/app&namespace=alice", want: query{namespaces: []string{"alice", "bob/app"}}},
		{raw: "namespace=alice&namespace=", err: "query parameter namespace: \"\" is not a namespace; want user"},
		{raw: "namespace=alice,bob", err: "query parameter namespace: \"alice,bob\" is not a namespace; want user"},
		{raw: manyNamespaces(100), want: query{namespaces: strings.Split(strings.Trim(strings.ReplaceAll(manyNamespaces(100), "namespace=", ""), "&"), "&")}},
		{raw: manyNamespaces(101), err: "query parameter namespace: more than 100 are given; want at most"},
		{raw: "namespace=al%zzice", err: "not percent-encoded"},
		{raw: "namespace=localhost:5000/alice", err: "namespace"},

		{raw: "tagged", want: query{tagged: true}},
		{raw: "tagged=", want: query{tagged: true}},
		{raw: "tagged=1", want: query{tagged: true}},
		{raw: "tagged=True", want: query{tagged: true}},
		{raw: "tagged=0"},
		{raw: "tagged=false"},
		{raw: "tagged=yes", err: "query parameter tagged: \"yes\" is not a flag"},
		{raw: "tagged&tagged=false", err: "tagged"},

		{raw: "details", want: query{details: flag(true)}},
		{raw: "details=true&namespace=a&namespace=b", want: query{details: flag(true), namespaces: []string{"a", "b"}}},
		{raw: "details=false", want: query{details: flag(false)}},
		{raw: "details=0", want: query{details: flag(false)}},
		{raw: "details=full", err: "query parameter details: \"full\" is not a flag; want it alone, or with true"},
		{raw: "details=true&details=false", err: "details"},
		{raw: "detail=true", err: "query parameter detail: not known; did you mean details?"},

		{raw: "uuid=" + uuidA, want: query{uuids: []item{{uuid: uuidA}}}},
		{raw: "uuid=" + uuidA + "," + uuidB, want: query{uuids: []item{{uuid: uuidA}, {uuid: uuidB}}}},
		{raw: "uuid=" + uuidA + "%2C" + uuidB + "&uuid=" + strings.ToUpper(uuidA), want: query{uuids: []item{{uuid: uuidA}, {uuid: uuidB}}}},
		{raw: "uuid=", err: "query parameter uuid: \"\" is not a UUID; want a UUID such as"},
		{raw: "uuid=" + uuidA + ",", err: "uuid"},
		{raw: "uuid={" + uuidA + "}", err: "uuid"},
		{raw: "uuid=urn:uuid:" + uuidA, err: "uuid"},
		{raw: "uuid=" + strings.ReplaceAll(uuidA, "-", ""), err: "uuid"},
		{raw: "uuid=g" + uuidA[1:], err: "uuid"},

		{raw: "digest=alice/app@" + shaA, want: query{items: []item{{digest: "alice/app@" + shaA}}}},
		{raw: "digest=" + shaA + "&tag=alice/app", want: query{items: []item{{digest: shaA, tag: "alice/app"}}}},
		{raw: "digest=" + shaA + "," + shaB, want: query{items: []item{{digest: shaA}, {digest: shaB}}}},
		{raw: "digest=" + shaA + "&digest=" + shaA, want: query{items: []item{{digest: shaA}}}},
		{raw: "tag=a/b&tag=a/b:c", want: query{items: []item{{tag: "a/b"}, {tag: "a/b:c"}}}},
		{raw: "digest=" + shaA + "&tag=a,b", err: "given 1 digests and 2 tags"},
		{raw: "digest=", err: "query parameter digest: \"\" is not a digest"},
		{raw: "tag=", err: "query parameter tag: \"\" does not begin with"},
		{raw: "digest=xyz", err: "query parameter digest: \"xyz\""},
		{raw: "tag=" + strings.Repeat("a,b,", 501), err: "at most 1000"},

		{raw: "count=1", want: query{count: 1, byTime: true}},
		{raw: "count=2147483647", want: query{count: maxCount, byTime: true}},
		{raw: "count=0", err: "query parameter count: \"0\" is not a count; want a whole number from 1 to 2147483647"},
		{raw: "count=-1", err: "count"},
		{raw: "count=+1", err: "count"},
		{raw: "count=1.5", err: "count"},
		{raw: "count=", err: "count"},
		{raw: "count=2147483648", err: "count"},
		{raw: "count=99999999999999999999999999", err: "count"},
		{raw: "count=1&count=2", err: "count"},
		{raw: "order=asc", want: query{byTime: true}},
		{raw: "order=desc", want: query{byTime: true, descending: true}},
		{raw: "order=PAGINATION_ORDER_ASC", want: query{byTime: true}},
		{raw: "order=PAGINATION_ORDER_DESC", want: query{byTime: true, descending: true}},
		{raw: "order=up", err: "query parameter order: \"up\" is not an order; want asc, desc"},
		{raw: "sortby=create_time", want: query{byTime: true}},
		{raw: "sortby=PAGINATION_SORT_BY_CREATE_TIME", want: query{byTime: true}},
		{raw: "sortby=name", err: "query parameter sortby: \"name\" is nothing to sort by; want create_time"},
		{raw: "from=" + uuidA, want: query{byTime: true, from: &origin{entry: item{uuid: uuidA}}}},
		{raw: "from=h:1/a/b@" + shaA, want: query{byTime: true, from: &origin{entry: item{digest: "h:1/a/b@" + shaA}}}},
		{raw: "from=2026-01-31T12:00:00.0000005+02:00", want: query{byTime: true, from: &origin{time: at}}},
		{raw: "from=2026-01-31T10%3A00%3A00.0000005Z", want: query{byTime: true, from: &origin{time: at}}},
		{raw: "from=2026-01-31", err: "query parameter from: \"2026-01-31\" is no place in the list"},
		{raw: "from=", err: "from"},
		{raw: "from=" + shaA, err: "from"},
		{raw: "from=a/b@sha256:12", err: "query parameter from: \"a/b@sha256:12\" is not a digest"},
		{raw: "from=" + uuidA + "&from=" + uuidB, err: "from"},
		{raw: "after=" + uuidA, want: query{byTime: true, after: &origin{entry: item{uuid: uuidA}}}},
		{raw: "after=h:1/a/b@" + shaA, want: query{byTime: true, after: &origin{entry: item{digest: "h:1/a/b@" + shaA}}}},
		{raw: "after=2026-01-31T12:00:00.0000005+02:00", want: query{byTime: true, after: &origin{time: at}}},
		{raw: "after=c1.xyz", want: query{byTime: true, after: &origin{cursor: "c1.xyz"}}},
		{raw: "after=", err: "query parameter after: \"\" is no place in the list; want the uuid of an image"},
		{raw: "after=2", err: "query parameter after: \"2\" is no place in the list"},
		{raw: "after=a/b@sha256:12", err: "query parameter after: \"a/b@sha256:12\" is not a digest"},
		{raw: "after=" + uuidA + "&after=" + uuidB, err: "after"},
		{raw: "after=" + uuidA + "&from=" + uuidB, err: "query parameters from and after: both are given; want one of them"},
		{raw: "afer=" + uuidA, err: "query parameter afer: not known; did you mean after?"},
	} {
		got, err := parseQuery(test.raw, hosts{"registry.example.com"})
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%q: got %+v, error %v, want an error with %q", test.raw, got, err, test.err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%q: got %+v, %v, want %+v", test.raw, got, err, test.want)
		}
	}
}

func flag(set bool) *bool { return &set }

func manyNamespaces(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "namespace=n%d&", i)
	}
	return b.String()
}

func FuzzParseQuery(f *testing.F) {
	for _, seed := range []string{
		`namespace\=alice\&tagged`, "uuid=" + uuidA + "&count=1&order=desc&sortby=create_time&from=" + uuidB,
		"digest=" + shaA + "&tag=a/b", "%", "=&=", "tag=a,b,c", "from=2026-01-31T12:00:00+02:00",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		own := hosts{"registry.example.com"}
		q, err := parseQuery(raw, own)
		if err != nil {
			if _, ok := err.(*failure); !ok || !strings.Contains(err.Error(), "want ") {
				t.Errorf("%q: %v", raw, err)
			}
			return
		}
		checkItems(t, raw, own, q.items)
		for _, it := range q.uuids {
			if _, ok := parseUUID(it.uuid); !ok {
				t.Errorf("%q: uuid %q", raw, it.uuid)
			}
		}
		if q.count < 0 || q.count > maxCount || slices.ContainsFunc(q.namespaces, func(n string) bool { return !reference.IsName(n) }) {
			t.Errorf("%q: %+v", raw, q)
		}
	})
}

// checkItems checks that a parser has let through only what can be read again.
func checkItems(t *testing.T, input string, own hosts, items []item) {
	t.Helper()
	seen := make(map[item]bool)
	for _, it := range items {
		if _, err := own.selector(it); err != nil || seen[it] || it == (item{}) {
			t.Errorf("%q: item %+v, error %v", input, it, err)
		}
		seen[it] = true
	}
}
