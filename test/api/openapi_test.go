package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/berth-oci/berth/test/harness"
)

// exchange is a request, and how berth answered it.
type exchange struct {
	method string
	target *url.URL
	body   []byte
	answer *harness.Answer
}

// described asks a berth everything that openapi.yaml has: what is taken, what does
// not exist, and what is refused.
func described(t *testing.T) []exchange {
	t.Helper()
	b := harness.Start(t)
	admin, alice := harness.AddAccount(t, b, "root", "--admin"), harness.AddAccount(t, b, "alice", "--quota", "1GiB")
	root := &harness.Berth{Client: admin.On(b), Host: b.Host}
	for i, f := range harness.Fixtures {
		if f.Name == "kraft-hello" || f.Name == "unikraft-rom" {
			pushLayout(t, root.Client, f, fmt.Sprint("alice/f", i))
		}
	}
	root.PutImage(t, "alice/args", "v1", imageWithKernelArgs())
	harness.PushSmall(t, root, "official/nginx", "n", "2026-01-01T00:00:00Z", "latest")
	digest := harness.Digest(imageWithKernelArgs().Index)
	id := harness.UUIDOf("alice/args", digest)
	var all []exchange
	ask := func(c *harness.Client, method, target, body string, header ...string) {
		t.Helper()
		var content any
		if body != "" {
			content = body
		}
		a, err := c.Do(method, target, content, header...)
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(b.URL + target)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, exchange{method, u, []byte(body), a})
	}
	for _, path := range []string{"/v1/images", "/images", "/v1/image-store", "/v1/images/list"} {
		for _, query := range []string{"", "?count=1&order=desc", "?tagged&namespace=alice&namespace=official", "?tag=alice/args:v1,nginx", "?tag=alice/none", "?tag=nginx,alice/none", "?count=0"} {
			ask(root.Client, "GET", path+query, "")
		}
		for _, body := range []string{"[]", `{"uuid":"` + id + `"}`, `[{"digest":"` + digest + `"},{"tag":"alice/none"},{"uuid":"` + harness.UUIDOf("a/b", digest) + `"}]`, `{"digest":"` + harness.NoDigest + `"}`} {
			ask(root.Client, "GET", path, body)
		}
	}
	for _, target := range []string{
		"/v1/images?details=true", "/v1/images?details=false", "/v1/images/" + id, "/v1/images/" + harness.UUIDOf("a/b", digest), "/v1/users", "/v1/users/quotas",
		"/v1/users/" + harness.AccountUUID("alice") + "/quotas", "/v1/users/" + harness.AccountUUID("nobody") + "/quotas", "/v1/metros", "/v1/healthz", "/v1/openapi.yaml",
		"/v1/none", "/token?service=berth&scope=repository:alice/args:pull", "/api/v2.0/projects/alice/summary", "/api/v2.0/projects/none", "/healthz", "/readyz", "/metrics",
	} {
		ask(root.Client, "GET", target, "")
		ask(root.Client, "PATCH", target, "{}")
	}
	ask(root.Client, "GET", "/v1/users/"+harness.AccountUUID("alice")+"/quotas", "")
	begin := strings.Split(all[0].answer.Header.Get("Berth-Revision"), ".")[0] + ".0"
	for _, query := range []string{"", "?since=" + begin, "?since=" + begin + "&type=push,tag&namespace=alice&limit=3&wait_s=1", "?since=1.1", "?since=0000000000000000.1"} {
		ask(root.Client, "GET", "/v1/changes"+query, "")
	}
	ask(root.Client, "GET", "/v1/images/"+id+"/history?limit=5", "")
	ask(root.Client, "GET", "/v1/images/"+harness.UUIDOf("a/b", digest)+"/history", "")
	root.PutImage(t, "alice/gone", "v1", imageWithKernelArgs())
	for _, reference := range []string{"v1", digest} {
		if a, err := root.Do("DELETE", "/v2/alice/gone/manifests/"+reference, nil); err != nil || a.Status != http.StatusAccepted {
			t.Fatal(a, err)
		}
	}
	ask(root.Client, "GET", "/v1/changes?repository=alice/gone&since="+begin, "")
	form := url.Values{"grant_type": {"password"}, "username": {alice.Name}, "password": {alice.Secret}, "service": {"berth"}}
	ask(b.Client, "POST", "/token", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	ask(b.Client, "POST", "/token", "grant_type=refresh_token", "Content-Type", "application/x-www-form-urlencoded")
	ask(harness.ClientAs(b, alice.Wrong().Basic()), "GET", "/token", "")
	ask(b.Client, "GET", "/v1/images", "")
	ask(root.Client, "DELETE", "/api/v2.0/projects/alice/repositories/args", "")
	return all
}

// pushLayout pushes an image of an OCI layout.
func pushLayout(t *testing.T, c *harness.Client, f harness.Fixture, repository string) {
	t.Helper()
	blobs := harness.BlobsOf(t, f.Dir())
	var index []byte
	for hex, content := range blobs {
		if "sha256:"+hex == f.Digest {
			index = content
			continue
		}
		if err := c.PushBlob(repository, content); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range f.Platforms {
		c.PutManifest(t, repository, p.Digest, harness.OCIManifest, blobs[strings.TrimPrefix(p.Digest, "sha256:")])
	}
	c.PutManifest(t, repository, f.Tag, harness.OCIIndex, index)
}

// imageWithKernelArgs is an image whose arguments are the kernel's in part.
func imageWithKernelArgs() harness.Image {
	image := harness.NewImage("k", "x")
	config := harness.JSON(map[string]any{
		"created": "2026-01-02T03:04:05Z", "os": "kraftcloud", "architecture": "x86_64",
		"config": map[string]any{"Cmd": []string{"netdev.ip=10.0.0.2", "--", "/app"}, "Env": []string{"A=1"}, "Labels": map[string]string{"l": "1"}},
	})
	manifest := harness.ManifestOf(harness.Describe(harness.OCIConfig, config),
		harness.Describe(harness.OCILayer, image.Blobs[0]).Marked("org.unikraft.kernel.image", "/unikraft/bin/kernel"),
		harness.Describe(harness.OCILayer, image.Blobs[1]).Marked("org.unikraft.kernel.initrd", "/unikraft/bin/initrd"))
	return harness.Image{Blobs: [][]byte{image.Blobs[0], image.Blobs[1], config}, Manifest: manifest, Index: harness.IndexOf(harness.Describe(harness.OCIManifest, manifest))}
}

func readDescription(t *testing.T) (text []byte, root *yaml.Node) {
	t.Helper()
	text, err := os.ReadFile(harness.DescriptionFile())
	if err != nil {
		t.Fatal(err)
	}
	root = &yaml.Node{}
	if err := yaml.Unmarshal(text, root); err != nil {
		t.Fatal(err)
	}
	return text, root
}

func newDescription(t *testing.T, text []byte) *harness.Description {
	t.Helper()
	d, err := harness.NewDescription(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestOpenAPI wants the document to be one of OpenAPI, to be what berth serves, and
// to have every route and answer; and nothing that berth does not have.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	all := described(t)
	text, root := readDescription(t)
	d := newDescription(t, text)
	if err := d.Valid(); err != nil {
		t.Error(err)
	}
	answered := map[string]bool{}
	for _, e := range all {
		if err := d.Check(e.method, e.target, e.body, e.answer); err != nil {
			t.Error(err)
		}
		if e.target.Path == "/v1/openapi.yaml" && e.method == "GET" && !bytes.Equal(e.answer.Body, text) {
			t.Error("berth serves another document")
		}
		if e.answer.Status < 400 {
			answered[e.method+" "+e.target.Path] = true
		}
	}
	id, alice := harness.UUIDOf("alice/args", harness.Digest(imageWithKernelArgs().Index)), harness.AccountUUID("alice")
	fill := strings.NewReplacer("/v1/images/{uuid}", "/v1/images/"+id, "{uuid}", alice, "{project}", "alice", "{repository}", "args").Replace
	paths := at(root.Content[0], "paths")
	for i := 0; i+1 < len(paths.Content); i += 2 {
		for j := 0; j+1 < len(paths.Content[i+1].Content); j += 2 {
			method := strings.ToUpper(paths.Content[i+1].Content[j].Value)
			if target := method + " " + fill(paths.Content[i].Value); method != "PARAMETERS" && !answered[target] {
				t.Errorf("openapi.yaml has %s, and berth answers nothing there", target)
			}
		}
	}
	t.Run("an answer lacks a field", func(t *testing.T) { lackingAnswers(t, d, all) })
	t.Run("an answer has one more", func(t *testing.T) { exceedingAnswers(t, d, all) })
	t.Run("the document lacks a field", func(t *testing.T) { lackingDocuments(t, all) })
}

// at is the value of a key of a mapping.
func at(mapping *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return &yaml.Node{}
}

// optional are the fields that an answer may lack.
var optional = []string{"owner", "users", "args", "env", "kernel", "initrd", "kernel_args", "labels", "image_storage_bytes", "images", "uuid", "tag", "digest", "A", "SALT", "PORT", "MODE", "detail", "tags", "by", "gone", "previous", "push_time", "last_pull"}

// lackingAnswers takes each field off each answer.
func lackingAnswers(t *testing.T, d *harness.Description, all []exchange) {
	taken := 0
	for _, e := range all {
		for _, body := range withoutEach(e.answer.Body) {
			taken++
			if d.Check(e.method, e.target, e.body, &harness.Answer{Status: e.answer.Status, Header: e.answer.Header, Body: body}) == nil {
				t.Errorf("%s: nobody misses what is not in %s", e.target, body)
			}
		}
	}
	if taken < 500 {
		t.Errorf("only %d fields were taken off", taken)
	}
}

// withoutEach returns a JSON value once without each of the fields that it must have.
func withoutEach(text []byte) (all [][]byte) {
	var value any
	if json.Unmarshal(text, &value) != nil {
		return nil
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, one := range v[:min(len(v), 3)] {
				walk(one)
			}
		case map[string]any:
			for key, one := range v {
				if !slices.Contains(optional, key) && !strings.Contains(key, "/") && key != "l" && key != "salt" && key != "checks" {
					delete(v, key)
					all = append(all, harness.JSON(value))
					v[key] = one
				}
				walk(one)
			}
		}
	}
	walk(value)
	return all
}

// exceedingAnswers adds a field to each answer that is an object.
func exceedingAnswers(t *testing.T, d *harness.Description, all []exchange) {
	for _, e := range all {
		var value map[string]any
		if json.Unmarshal(e.answer.Body, &value) != nil {
			continue
		}
		value["more"] = 1
		if d.Check(e.method, e.target, e.body, &harness.Answer{Status: e.answer.Status, Header: e.answer.Header, Body: harness.JSON(value)}) == nil {
			t.Errorf("%s: nobody sees what is more in %s", e.target, harness.JSON(value))
		}
	}
}

// lackingDocuments takes each property off each schema of the document, and where
// TEST_REQUIRE does not have openapi every eighth: what berth answers must then be
// wrong.
func lackingDocuments(t *testing.T, all []exchange) {
	_, root := readDescription(t)
	schemas := at(at(root.Content[0], "components"), "schemas")
	properties, each := 0, 8
	if harness.Required("openapi") {
		each = 1
	}
	for i := 0; i+1 < len(schemas.Content); i += 2 {
		name := schemas.Content[i].Value
		if name == "Item" {
			continue // of requests, whose unknown keys are ignored
		}
		all = lackingProperties(t, root, at(schemas.Content[i+1], "properties"), all, func(property string) bool {
			if slices.Contains(unanswered, name+"."+property) {
				return false
			}
			properties++
			return properties%each == 0
		})
	}
	if properties < 80 {
		t.Errorf("the document has only %d properties", properties)
	}
}

// lackingProperties takes each property off a schema that is wanted. It returns the
// exchanges with the one first that last missed one: it is likely to have more of
// that schema.
func lackingProperties(t *testing.T, root, schema *yaml.Node, all []exchange, wanted func(property string) bool) []exchange {
	t.Helper()
	all, whole := slices.Clone(all), schema.Content
	for j := 0; j+1 < len(whole); j += 2 {
		if !wanted(whole[j].Value) {
			continue
		}
		schema.Content = slices.Concat(whole[:j], whole[j+2:])
		text, err := yaml.Marshal(root)
		if err != nil {
			t.Fatal(err)
		}
		d, err := harness.NewLazyDescription(text)
		if err != nil {
			t.Fatal(err)
		}
		missed := slices.IndexFunc(all, func(e exchange) bool { return d.Check(e.method, e.target, e.body, e.answer) != nil })
		if missed < 0 {
			t.Errorf("line %d: nobody misses %s", whole[j].Line, whole[j].Value)
			continue
		}
		all[0], all[missed] = all[missed], all[0]
	}
	schema.Content = whole
	return all
}

// unanswered are properties that none of the answers has.
var unanswered = []string{
	// Of streams, whose events have tests of their own.
	"Initial.type", "Initial.repository", "Initial.digest", "Initial.images", "End.type", "End.revision", "End.status", "End.reason", "End.message",
}

// TestAnswersOtherwise lets clients of the tests see an answer that the document has
// not: it fails the request.
func TestAnswersOtherwise(t *testing.T) {
	t.Parallel()
	answers := map[string]string{
		"/v1/metros": `{"status":"success","data":{"metros":[]},"op_time_us":1}`, "/v1/images": `{"status":"success","data":{"images":null},"op_time_us":1}`,
		"/v1/users": `{"status":"success","data":{"users":[{"uuid":"x","name":"a"}]},"op_time_us":1}`, "/v1/new": `{"status":"success"}`, "/v1/none": `{"status":"error"}`,
	}
	for _, path := range slices.Sorted(maps.Keys(answers)) {
		c := harness.NewClient("http://berth.invalid")
		c.HTTP.Transport = harness.Looking(answering{answers[path], path == "/v1/none"})
		if _, err := c.Do(http.MethodGet, path, nil); err == nil || !strings.Contains(err.Error(), "openapi.yaml") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// answering answers every request the same.
type answering struct {
	body string
	none bool
}

// RoundTrip answers.
func (a answering) RoundTrip(r *http.Request) (*http.Response, error) {
	code := http.StatusOK
	if a.none {
		code = http.StatusNotFound
	}
	return &http.Response{
		StatusCode: code, Header: http.Header{"Content-Type": {"application/json"}}, Request: r, ProtoMajor: 1, ProtoMinor: 1,
		Body: &closing{bytes.NewReader([]byte(a.body))},
	}, nil
}

type closing struct{ *bytes.Reader }

func (closing) Close() error { return nil }
