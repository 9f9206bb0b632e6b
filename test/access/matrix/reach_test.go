package matrix

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// TestReach: whoever knows a digest of what another stores can name it in
// manifests of its own. That must not bring it nearer, and what comes of it
// must be what comes of a digest that nobody has.
func TestReach(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	theirs, nobody := w.images["bob/secret"], harness.NewImage("nobody", "nobody/ever")
	w.blob("mallory/x", []byte("{}"))
	ask := func(method, target string, body any, header ...string) *harness.Answer {
		return w.ask("stranger", method, target, body, append(header, "X-Request-Id", "same")...)
	}
	config := harness.Describe(harness.OCIConfig, []byte("{}"))
	layer := func(image harness.Image, n int, mediaType string) harness.Descriptor {
		d := harness.Describe(mediaType, image.Blobs[n])
		d.Size = 7 // who names a digest need not know more
		return d
	}
	child := func(image harness.Image) harness.Descriptor {
		d := harness.Describe(harness.OCIManifest, image.Manifest)
		d.Size, d.Platform = 7, map[string]any{"os": "kraftcloud", "architecture": "x86_64"}
		return d
	}
	const foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar"
	for _, m := range []struct {
		what, mediaType string
		of              func(harness.Image) []byte
		status          int
	}{
		{"config", harness.OCIManifest, func(i harness.Image) []byte {
			return harness.ManifestOf(layer(i, 2, harness.OCIConfig), config.Marked("org.unikraft.kernel.image", "x"))
		}, 400},
		{"layer", harness.OCIManifest, func(i harness.Image) []byte { return harness.ManifestOf(config, layer(i, 1, harness.OCILayer)) }, 400},
		{"ROM", harness.OCIManifest, func(i harness.Image) []byte {
			return harness.ManifestOf(config, layer(i, 1, "application/vnd.unikraft.rom.v1"))
		}, 400},
		{"foreign layer", harness.OCIManifest, func(i harness.Image) []byte { return harness.ManifestOf(config, layer(i, 0, foreign)) }, 201},
		{"foreign kernel", harness.OCIManifest, func(i harness.Image) []byte {
			return harness.ManifestOf(config, layer(i, 0, foreign).Marked("org.unikraft.kernel.image", "/unikraft/bin/kernel"))
		}, 201},
		{"child", harness.OCIIndex, func(i harness.Image) []byte { return harness.IndexOf(child(i)) }, 201},
		{"subject", harness.OCIManifest, func(i harness.Image) []byte {
			return harness.JSON(map[string]any{"schemaVersion": 2, "mediaType": harness.OCIManifest, "config": config, "layers": []any{}, "subject": child(i)})
		}, 201},
	} {
		// An upload that began counts until it ends.
		cancelled := func(a *harness.Answer) *harness.Answer {
			if c := ask("DELETE", a.Header.Get("Location"), nil); c.Status != 204 {
				t.Errorf("an upload is not cancelled: %d %s", c.Status, c.Body)
			}
			return a
		}
		var answers []string
		for _, image := range []harness.Image{theirs, nobody} {
			body := m.of(image)
			tag := strings.ReplaceAll(m.what, " ", "-")
			text := ""
			for _, a := range []*harness.Answer{
				ask("PUT", "/v2/mallory/x/manifests/"+tag, body, "Content-Type", m.mediaType),
				ask("GET", "/v2/mallory/x/manifests/"+tag, nil),
				ask("GET", "/v1/images?tag=mallory/x:"+tag, nil),
				ask("GET", "/v1/images/list?tag=mallory/x:"+tag, nil),
				ask("GET", "/v2/mallory/x/manifests/"+harness.Digest(image.Manifest), nil),
				ask("GET", "/v2/mallory/x/blobs/"+harness.Digest(image.Blobs[0]), nil),
				ask("GET", "/v2/mallory/x/blobs/"+harness.Digest(image.Blobs[1]), nil),
				ask("GET", "/v2/mallory/x/blobs/"+harness.Digest(image.Blobs[2]), nil),
				cancelled(ask("POST", "/v2/mallory/x/blobs/uploads/?mount="+harness.Digest(image.Blobs[1]), nil)),
				ask("GET", "/v2/mallory/x/referrers/"+harness.Digest(image.Index), nil),
				ask("GET", "/v1/images?digest="+harness.Digest(image.Manifest), nil),
				ask("GET", "/v1/users/quotas", nil),
				ask("DELETE", "/v2/mallory/x/manifests/"+tag, nil),
				ask("DELETE", "/v2/mallory/x/manifests/"+harness.Digest(body), nil),
			} {
				if text == "" && a.Status != m.status {
					t.Errorf("a manifest with another's %s: %d %s, want %d", m.what, a.Status, a.Body, m.status)
				}
				text += fmt.Sprintf("%d %s\n", a.Status, timeTaken.ReplaceAll(a.Body, nil))
			}
			for name, part := range map[string][]byte{
				"<made>": body, "<manifest>": image.Manifest, "<index>": image.Index, "<0>": image.Blobs[0], "<1>": image.Blobs[1], "<2>": image.Blobs[2],
			} {
				text = strings.ReplaceAll(text, harness.Digest(part), name)
			}
			answers = append(answers, uuidForm.ReplaceAllString(createdForm.ReplaceAllString(text, ""), "<uuid>"))
		}
		if answers[0] != answers[1] {
			t.Errorf("another's %s and nobody's can be told apart:\n%s\n%s", m.what, answers[0], answers[1])
		}
	}
}

var (
	uuidForm    = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`)
	createdForm = regexp.MustCompile(`"created_at":"[^"]*"`)
)

// TestReferrers: what refers to an official image in another's repository
// is nobody else's to see, also not through the tag that stands in for the list.
func TestReferrers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	subject := w.images["official/nginx"]
	target := harness.Digest(subject.Index)
	w.blob("bob/secret", []byte("{}"))
	w.blob("mallory/x", []byte("{}"))
	artifact := harness.JSON(map[string]any{
		"schemaVersion": 2, "mediaType": harness.OCIManifest, "artifactType": "application/x.secret", "config": harness.Describe(harness.OCIConfig, []byte("{}")), "layers": []any{},
		"subject": harness.Describe(harness.OCIIndex, subject.Index),
	})
	w.must(201, "PUT", "/v2/bob/secret/manifests/"+harness.Digest(artifact), artifact, "Content-Type", harness.OCIManifest)
	// A list of the caller's own that names it.
	list := harness.IndexOf(harness.Describe(harness.OCIManifest, artifact), harness.Describe(harness.OCIManifest, w.images["bob/secret"].Manifest))
	a := w.ask("stranger", "PUT", "/v2/mallory/x/manifests/"+strings.Replace(target, ":", "-", 1), list, "Content-Type", harness.OCIIndex)
	if a.Status != 201 {
		t.Fatalf("a list of referrers: %d %s", a.Status, a.Body)
	}
	for _, repository := range []string{"nginx", "official/nginx", "mallory/x"} {
		for _, query := range []string{"", "?artifactType=application/x.secret", "?last=sha256:0"} {
			a := w.ask("stranger", "GET", "/v2/"+repository+"/referrers/"+target+query, nil)
			if a.Status != 200 || !strings.Contains(string(a.Body), `"manifests":[]`) {
				t.Errorf("referrers in %s%s: %d %s", repository, query, a.Status, a.Body)
			}
		}
	}
	if a := w.ask("bob", "GET", "/v2/bob/secret/referrers/"+target, nil); !strings.Contains(string(a.Body), harness.Digest(artifact)) {
		t.Errorf("its owner does not see it: %s", a.Body)
	}
}

// TestNeighbours: a right ends where the name does, and holds for all
// that lies below it.
func TestNeighbours(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, repository := range []string{"alice/app2", "alice/app-x", "alice/app/below", "alicex/app", "alice-x/app", "official2/nginx", "nginxx/y"} {
		w.push(repository, "latest", harness.NewImage("n", repository))
	}
	index := harness.IndexOf()
	for _, row := range []struct{ repository, read, write string }{ // the callers who may
		{"alice/app/below", "owner readonly reader writer", "owner writer"},
		{"alice/app2", "owner readonly reader", "owner"},
		{"alice/app-x", "owner readonly reader", "owner"},
		{"alicex/app", "", ""},
		{"alice-x/app", "", ""},
		{"official2/nginx", "", ""},
		{"nginxx/y", "", ""},
	} {
		for _, caller := range []string{"stranger", "owner", "readonly", "reader", "writer"} {
			read, write := cell{method: "GET", caller: caller, status: 404}, cell{method: "PUT", caller: caller, status: 403}
			if slices.Contains(strings.Fields(row.read), caller) {
				read.status = 200
			}
			if slices.Contains(strings.Fields(row.write), caller) {
				write.status = 201
			}
			for _, target := range []string{"/v2/" + row.repository + "/manifests/latest", "/v1/images?tag=" + row.repository, "/v1/images/list?tag=" + row.repository} {
				w.check(read, target, w.ask(caller, "GET", target, nil))
			}
			for _, list := range []string{"/v2/_catalog", "/v1/images"} {
				shown := regexp.MustCompile(`["/]` + row.repository + `["@]`).Match(w.ask(caller, "GET", list, nil).Body)
				if shown != (read.status == 200) {
					t.Errorf("%s: %s shows %s: %v", caller, list, row.repository, shown)
				}
			}
			target := "/v2/" + row.repository + "/manifests/new"
			w.check(write, target, w.ask(caller, "PUT", target, index, "Content-Type", harness.OCIIndex))
		}
	}
}
