package image_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/storage"
)

const (
	noManifest         = "the manifest is not a JSON object of the form that the image specification gives it"
	tooManyDescriptors = "a manifest may have 16384 layers or manifests at most"
	wrongVersion       = "the manifest's schemaVersion is not 2"
)

func TestParse(t *testing.T) {
	list := func(n int) string { return "[" + strings.TrimSuffix(strings.Repeat("{},", n), ",") + "]" }
	for body, want := range map[string]string{
		"": noManifest, " ": noManifest, "{": noManifest, "null": noManifest, "[]": noManifest, `"x"`: noManifest,
		"5": noManifest, "\x00": noManifest, `{"schemaVersion":2}}`: noManifest, `{"schemaVersion":2,"layers":[}`: noManifest,
		`{"schemaVersion":2,"annotations":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + "}": noManifest,

		"{}": wrongVersion, `{"schemaVersion":1}`: wrongVersion, `{"schemaVersion":2.0}`: wrongVersion,
		`{"schemaVersion":"2"}`: wrongVersion, `{"schemaVersion":null}`: wrongVersion, `{"schemaVersion":2,"SchemaVersion":3}`: wrongVersion,

		`{"schemaVersion":2}`: "", " \n" + `{"SCHEMAVERSION": 2 }` + "\n": "", `{"schemaVersion":1,"schemaVersion":2}`: "",
		`{"schemaVersion":2,"layers":{},"manifests":7,"mediaType":1,"config":"x","annotations":{"a":1}}`: "", // distribution refuses it

		`{"schemaVersion":2,"layers":` + list(16384) + `,"manifests":` + list(16384) + "}":     "",
		`{"schemaVersion":2,"layers":` + list(16385) + "}":                                     tooManyDescriptors,
		`{"schemaVersion":2,"manifests":` + list(16385) + "}":                                  tooManyDescriptors,
		`{"schemaVersion":2,"Layers":` + list(16385) + `,"layers":[]}`:                         tooManyDescriptors,
		`{"layers":[` + strings.Repeat("0,", 20_000) + "0]}":                                   tooManyDescriptors,
		`{"schemaVersion":2,"layers":` + list(16385) + `,"manifests":[}`:                       noManifest,
		`{"schemaVersion":2,"layers":` + strings.Replace(list(16384), "{}", list(20), 1) + "}": "",
	} {
		_, err := image.Parse([]byte(body))
		var known *storage.Error
		switch {
		case want == "" && err != nil:
			t.Errorf("%.60s: %v", body, err)
		case want != "" && (!errors.As(err, &known) || known.Code != storage.Invalid || known.Message != want):
			t.Errorf("%.60s: got %v, want %q", body, err, want)
		}
	}
}

// TestReadTooMany reads what is beside a list that is too long, and the first
// part of the list.
func TestReadTooMany(t *testing.T) {
	subject := digest.FromString("subject")
	var all []string
	for i := range image.MaxDescriptors + 10 {
		all = append(all, fmt.Sprintf(`{"digest":"%s"}`, digest.FromString(fmt.Sprint(i))))
	}
	doc := image.Read([]byte(`{"layers":[` + strings.Join(all, ",") + `],"subject":{"digest":"` + subject.String() + `"}}`))
	if n := len(doc.Layers); n != image.MaxDescriptors || doc.Layers[n-1].Digest != digest.FromString(fmt.Sprint(n-1)) {
		t.Errorf("%d layers", n)
	}
	if doc.Subject != subject {
		t.Errorf("the subject is %q", doc.Subject)
	}
	found := image.Descriptors([]byte(`{"manifests":[` + strings.Join(all, ",") + `]}`))
	if n := len(found); n != image.MaxDescriptors || found[n-1].Digest != digest.FromString(fmt.Sprint(n-1)) {
		t.Errorf("%d manifests", n)
	}
}

// TestFiller reads 4 MiB of descriptors that say nothing, and other JSON that
// grows when it is decoded.
func TestFiller(t *testing.T) {
	const size = 4 << 20
	fill := func(before, filler, after string) []byte {
		return []byte(before + strings.Repeat(filler, (size-len(before)-len(after))/len(filler)) + after)
	}
	for name, body := range map[string][]byte{
		"layers":              fill(`{"schemaVersion":2,"layers":[`, "{},", "{}]}"),
		"manifests":           fill(`{"schemaVersion":2,"manifests":[`, "{},", "{}]}"),
		"numbers":             fill(`{"schemaVersion":2,"layers":[`, "0,", "0]}"),
		"equal keys":          fill(`{"schemaVersion":2`, `,"layers":[{}]`, "}"),
		"annotations":         fill(`{"schemaVersion":2,"annotations":{"":""`, `,"a":""`, "}}"),
		"equal annotations":   fill(`{"schemaVersion":2`, `,"annotations":{}`, "}"),
		"layer's annotations": fill(`{"schemaVersion":2,"layers":[{"annotations":{"":""`, `,"a":""`, "}}]}"),
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, within(t, 32<<20, func() {
				if _, err := image.Parse(body); (err == nil) == strings.Contains("layers manifests numbers", name) {
					t.Errorf("Parse: %v", err)
				}
				image.Read(body)
				image.MediaType(body)
				image.Descriptors(body)
			}), 5*time.Second)
		})
	}
}

// TestReferrerAnnotations makes the map that encoding/json makes.
func TestReferrerAnnotations(t *testing.T) {
	for _, fields := range []string{
		`"x":1`, `"annotations":null`, `"annotations":{}`, `"annotations":[]`, `"annotations":"x"`, `"annotations":{"a":"b","a":"c","\u0061":"d"}`,
		`"annotations":{"a":"b"},"Annotations":{"c":"d"}`, `"annotations":{"a":"b"},"annotations":null`, `"annotations":null,"annotations":{"a":"b"}`,
		`"annotations":null,"annotations":null`, `"annotations":{"a":"b"},"annotations":7,"annotations":{"c":{"d":[null,"}",1]},"e":null,"f":"g"}`,
	} {
		body := []byte("{" + fields + "}")
		var want struct {
			Annotations map[string]string `json:"annotations"`
		}
		_ = json.Unmarshal(body, &want)
		if _, got := image.Read(body).Referrer(); !reflect.DeepEqual(got, want.Annotations) {
			t.Errorf("%s: got %v, want %v", fields, got, want.Annotations)
		}
	}
}

// TestOwnBytes keeps nothing of the bytes: their owner may use them again.
func TestOwnBytes(t *testing.T) {
	const text = `{"schemaVersion":2,"mediaType":"m","artifactType":"t","subject":{"digest":"` + sha +
		`22d20782da8fc660522f61fd6d05deb645f606f9aa6cd18023118cb942783ed2"},"annotations":{"a":"b"},"layers":[{"mediaType":"l"}]}`
	body := []byte(text)
	got := image.Read(body)
	clear(body)
	if want := image.Read([]byte(text)); !reflect.DeepEqual(got, want) || want.Subject == "" {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// FuzzParse compares what is read of any bytes with what encoding/json makes of
// them.
func FuzzParse(f *testing.F) {
	for _, body := range []string{
		`{"schemaVersion":2,"mediaType":"` + ociManifest + `","config":{"digest":"x","mediaType":"y"},"layers":[{"digest":"a","annotations":{"org.unikraft.kernel.image":"x"}},null,{}]}`,
		`{"SchemaVersion":2,"manifests":[{"platform":{"os":"fc","ARCHITECTURE":"arm64"},"annotations":{"\u006frg.unikraft.kernel.initrd" : "\"}" }}],"annotations":{"a":"b","c":[1,{"]":2}]}}`,
		`{"layers":[{"digest":"a"},{"digest":"b"}],"layers":[{}],"Layers":[{},{},{}],"subject":{"digest":"` + sha + `22d20782da8fc660522f61fd6d05deb645f606f9aa6cd18023118cb942783ed2"}}`,
		`{"schemaVersion":2,"annotations":{"org.opencontainers.image.created":"2026-07-01T12:00:00Z"},"annotations":null,"manifests":null}`,
		`{"mediaType":7,"layer\u017f":[],"manifests":{},"\ud800":"\xff","config":[],"artifactType":null}`,
		"null", "[{}]", " {} ",
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		start := time.Now()
		doc, err := image.Parse(body)
		read := image.Read(body)
		inTime(t, time.Since(start), 5*time.Second)
		checkAccepted(t, body, doc, err)
		if err == nil && !reflect.DeepEqual(doc, read) {
			t.Errorf("Parse says %+v, Read %+v", doc, read)
		}
		if got, want := image.MediaType(body), read.MediaType(); got != want {
			t.Errorf("MediaType says %q of the bytes, %q of what was read", got, want)
		}
		checkRead(t, body, read)
		c := newContent()
		m := c.manifest(body)
		want := describe(t, c, m)
		m.Parsed = read
		if got := describe(t, c, m); !reflect.DeepEqual(got, want) {
			t.Errorf("described\n%+v from what was read,\n%+v from the bytes", got, want)
		}
	})
}

func checkAccepted(t *testing.T, body []byte, doc image.Document, err error) {
	t.Helper()
	var version struct{ SchemaVersion json.RawMessage }
	object := json.Unmarshal(body, &version) == nil && string(version.SchemaVersion) == "2"
	fits := len(body) < 2*image.MaxDescriptors // of any form
	if err == nil && !object || err != nil && object && fits {
		t.Errorf("error %v of %q", err, body)
	}
	var known *storage.Error
	if err != nil && (!errors.As(err, &known) || known.Code != storage.Invalid || known.Message == "") {
		t.Errorf("error %v is none for a client", err)
	}
	if err != nil && !reflect.DeepEqual(doc, image.Document{}) {
		t.Errorf("a document of what is refused: %+v", doc)
	}
}

// checkRead compares a document with what encoding/json makes of the bytes, if
// everything has the right type.
func checkRead(t *testing.T, body []byte, doc image.Document) {
	t.Helper()
	type descriptor struct {
		MediaType string
		Digest    digest.Digest
		Platform  struct{ OS, Architecture string }
	}
	var want struct {
		MediaType         string
		Config, Subject   descriptor
		Layers, Manifests []descriptor
		Annotations       map[string]string
		ArtifactType      string
	}
	if json.Unmarshal(body, &want) != nil || len(want.Layers) > image.MaxDescriptors || len(want.Manifests) > image.MaxDescriptors {
		return
	}
	same := func(what string, got []image.Descriptor, want []descriptor) {
		t.Helper()
		if len(got) != len(want) || (got == nil) != (want == nil) {
			t.Errorf("%d %s, want %d", len(got), what, len(want))
			return
		}
		for i, g := range got {
			g := descriptor{g.MediaType, g.Digest, struct{ OS, Architecture string }(g.Machine)}
			if g != want[i] {
				t.Errorf("%s %d is %+v, want %+v", what, i, g, want[i])
			}
		}
	}
	same("config", []image.Descriptor{doc.Config}, []descriptor{want.Config})
	same("layers", doc.Layers, want.Layers)
	same("manifests", doc.Manifests, want.Manifests)
	if want.Subject.Digest.Validate() != nil {
		want.Subject.Digest = ""
	}
	if want.ArtifactType == "" {
		want.ArtifactType = want.Config.MediaType
	}
	if len(want.ArtifactType) > 1024 {
		want.ArtifactType = ""
	}
	if len(want.Annotations) > image.MaxAnnotations || len(body) > image.MaxAnnotationBytes {
		return // what a list of referrers leaves out: see TestReferrerLimits
	}
	artifactType, annotations := doc.Referrer()
	if doc.Stated != want.MediaType || doc.Subject != want.Subject.Digest || artifactType != want.ArtifactType {
		t.Errorf("got type %q, subject %q and artifact type %q, want %+v", doc.Stated, doc.Subject, artifactType, want)
	}
	if !reflect.DeepEqual(annotations, want.Annotations) {
		t.Errorf("annotations are %q, want %q", annotations, want.Annotations)
	}
}
