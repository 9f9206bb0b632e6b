package images

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParseBody(t *testing.T) {
	a, b := item{digest: "alice/app@" + shaA}, item{tag: "alice/app:v1"}
	for _, test := range []struct {
		name, body string
		want       []item
		err        string
	}{
		{name: "nothing"},
		{name: "white space", body: " \r\n\t"},
		{name: "empty array", body: "[]"},
		{name: "empty object", body: "{}"},
		{name: "null", body: " null "},
		{name: "array of nothing", body: "[{}, {}]"},
		{name: "only unknown keys", body: `{"name":"x"}`, err: `body: no key of it is known ("name"); want {`},
		{name: "null fields", body: `{"digest":null,"tag":null,"tagged":null}`},

		{name: "object", body: `{"digest":"alice/app@` + shaA + `"}`, want: []item{a}},
		{name: "array", body: `[{"digest":"alice/app@` + shaA + `"},{"tag":"alice/app:v1"}]`, want: []item{a, b}},
		{name: "both", body: `{"digest":"` + shaA + `","tag":"alice/app"}`, want: []item{{digest: shaA, tag: "alice/app"}}},
		{name: "uuid", body: `{"uuid":"` + uuidA + `"}`, want: []item{{uuid: uuidA}}},
		{name: "uuids in either case", body: `[{"uuid":"` + uuidA + `"},{"uuid":"` + strings.ToUpper(uuidA) + `"},{"uuid":"` + uuidB + `"}]`, want: []item{{uuid: uuidA}, {uuid: uuidB}}},
		{name: "uuid and tag", body: `[{"uuid":"` + uuidA + `","tag":"alice/app"},{"tag":"alice/app"}]`, want: []item{{uuid: uuidA, tag: "alice/app"}, {tag: "alice/app"}}},
		{name: "YAML uuid", body: `{ 'uuid': '` + uuidA + `' }`, want: []item{{uuid: uuidA}}},
		{name: "no uuid", body: `[{"tag":"a/b"},{"uuid":"7"}]`, err: `body: item 2: uuid: "7" is not a UUID; want a UUID such as`},
		{name: "empty uuid", body: `{"uuid":""}`, err: `body: uuid: "" is not a UUID`},
		{name: "uuid as a number", body: `{"uuid":7}`, err: "body: uuid is not a string; want a UUID"},
		{name: "uuids", body: `{"uuids":"` + uuidA + `"}`, err: "body: key uuids is not known; did you mean uuid?"},

		{name: "equal items", body: `[{"tag":"alice/app:v1"},{"tagged":"alice/app:v1"}]`, want: []item{b}},
		{name: "tagged", body: `{"tagged":"alice/app:v1"}`, want: []item{b}},
		{name: "tag and tagged", body: `{"tag":"alice/app:v1","tagged":"alice/app:v1"}`, want: []item{b}},
		{name: "unknown keys", body: `{"x":[1,{"digest":7}],"n":1e99999,"tag":"alice/app:v1","y":{"tag":[]}}`, want: []item{b}},
		{name: "escapes", body: `{"t\u0061g":"alice\/app:v1"}`, want: []item{b}},
		{name: "the last of two", body: `{"tag":"alice/x","tag":"alice/app:v1"}`, want: []item{b}},
		{name: "two that differ", body: `{"tag":"a/b","tagged":"a/c"}`, err: `body: tag is "a/b" and tagged is "a/c"`},

		{name: "empty string", body: `{"digest":""}`, err: `body: digest: "" is not a digest`},
		{name: "number", body: `{"digest":7}`, err: "body: digest is not a string; want sha256:"},
		{name: "array of strings", body: `{"tag":["a/b"]}`, err: "body: tag is not a string; want the image's name"},
		{name: "flag", body: `{"tagged":true}`, err: "body: tagged is not a string"},
		{name: "wrong type in the second", body: `[{"tag":"a/b"},{"digest":{}}]`, err: "body: item 2: digest is not a string"},
		{name: "malformed in the third", body: `[{"tag":"a/b"},{"tag":"a/c"},{"tag":"A"}]`, err: `body: item 3: tag: "A"`},
		{name: "nothing in the second", body: `[{"tag":"a/b"},{}]`, err: "body: item 2 has neither digest nor tag"},
		{name: "string", body: `"alice/app"`, err: "body: not an object; want {"},
		{name: "true", body: `true`, err: "body: not an object"},
		{name: "7", body: `7`, err: "body: not an object"},
		{name: "array of strings", body: `["alice/app"]`, err: "body: item 1: not an object"},
		{name: "nested array", body: `[[{"tag":"a/b"}]]`, err: "body: item 1: not an object"},
		{name: "null item", body: `[null]`, err: "body: item 1: not an object"},
		{name: "garbage behind", body: `{"tag":"a/b"} x`, err: "body: neither JSON nor YAML"},
		{name: "two objects", body: `{"tag":"a/b"}{"tag":"a/c"}`, err: "body: neither JSON nor YAML"},
		{name: "cut off", body: `{"tag":"a/b"`, err: "body: neither JSON nor YAML"},
		{name: "control characters", body: "{\x00}", err: "body: neither JSON nor YAML"},
		{name: "deep", body: strings.Repeat("[", 20000), err: "body: "},
		{name: "deep JSON", body: `{"x":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `,"tag":null}`},

		{name: "the document's example", body: "{\n'digest': 'alice/app@" + shaA + "'\n}", want: []item{a}},
		{name: "YAML array", body: "[{ 'digest': 'alice/app@" + shaA + "' }, {tag: alice/app:v1}]", want: []item{a, b}},
		{name: "YAML block", body: "- digest: alice/app@" + shaA + "\n- tag: alice/app:v1\n  other: [1]\n", want: []item{a, b}},
		{name: "YAML null", body: "~"},
		{name: "YAML null field", body: "{ 'tag': ~ }"},
		{name: "YAML comment", body: "# nothing"},
		{name: "YAML number", body: "{ 'tag': 7 }", err: "body: tag is not a string"},
		{name: "YAML list", body: "{ 'tag': [a] }", err: "body: tag is not a string"},
		{name: "YAML binary", body: "{ 'tag': !!binary YS9i }", err: "body: tag is not a string"},
		{name: "YAML scalar", body: "alice/app", err: "body: not an object"},
		{name: "YAML item", body: "- {'tag': a/b}\n- a/c", err: "body: item 2: not an object"},
		{name: "two documents", body: "tag: a/b\n---\ntag: a/c\n", err: "body: neither JSON nor YAML"},
		{name: "form", body: "digest=" + shaA, err: "body: not an object"},
		{name: "anchor", body: "{ 'tag': &a 'a/b' }", err: "body: YAML anchors and aliases are not read"},
		{name: "alias", body: "- &a {'tag': a/b}\n- *a", err: "body: YAML anchors and aliases are not read"},
		{
			name: "alias bomb",
			body: "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b]\ntag: a/b",
			err:  "body: YAML anchors and aliases are not read",
		},
		{name: "large YAML", body: "{'tag': 'a/b'}" + strings.Repeat(" ", maxYAML) + "# end", err: "body: not JSON, and too large to be read as YAML (at most 65536 bytes)"},
		{name: "large JSON", body: `{"x":"` + strings.Repeat("x", maxYAML) + `","tag":"alice/app:v1"}`, want: []item{b}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseBody([]byte(test.body), hosts{"registry.example.com"})
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %+v, error %v, want an error with %q", got, err, test.err)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v, %v, want %+v", got, err, test.want)
			}
		})
	}
}

// Bodies within the limits that are made to be slow.
func TestParseBodyTime(t *testing.T) {
	for name, body := range map[string]string{
		"brackets":       strings.Repeat("[", maxYAML),
		"braces":         strings.Repeat("{", maxYAML),
		"pairs":          "{" + strings.Repeat("a: {", maxYAML/4-1),
		"keys":           strings.Repeat("? ", maxYAML/2),
		"dashes":         strings.Repeat("- ", maxYAML/2),
		"colons":         strings.Repeat(": ", maxYAML/2),
		"quotes":         strings.Repeat("'", maxYAML),
		"lines":          "'" + strings.Repeat("\n", maxYAML-1),
		"anchors":        "[" + strings.Repeat("&a a,", maxYAML/6) + "]",
		"duplicate keys": "{" + strings.Repeat("a: b,", maxYAML/5-2) + "'c': d}",
		"comments":       strings.Repeat("#\n", maxYAML/2),
		"objects":        "[" + strings.Repeat("{},", defaultMaxBody/3-1) + "{}]",
		"small objects":  "[" + strings.Repeat(`{"":0},`, defaultMaxBody/7-1) + "{}]",
	} {
		start := time.Now()
		_, _ = parseBody([]byte(body), nil)
		if took := time.Since(start); took > 4*time.Second {
			t.Errorf("%s: %d bytes took %v", name, len(body), took)
		}
	}
}

func FuzzParseBody(f *testing.F) {
	for _, seed := range []string{
		`{"digest":"alice/app@` + shaA + `"}`, "{ 'digest': '" + shaA + "' }", `[{"tag":"a/b"},{"tagged":"a/c"}]`,
		"- tag: a/b\n- &x {tag: a/c}\n- *x\n", "[]", "null", "{}", "%", "\xff", "<<: {tag: a/b}", "? [a]\n: b",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		own := hosts{"registry.example.com"}
		items, err := parseBody(body, own)
		if err != nil {
			if _, ok := err.(*failure); !ok || !strings.HasPrefix(err.Error(), "body: ") || len(err.Error()) > 2000 {
				t.Errorf("%q: %v", body, err)
			}
			return
		}
		checkItems(t, string(body), own, items)
	})
}
