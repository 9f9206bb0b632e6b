package test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestMatrixReach: whoever knows a digest of what another stores can name it in
// manifests of its own. That must not bring it nearer, and what comes of it
// must be what comes of a digest that nobody has.
func TestMatrixReach(t *testing.T) {
	w := newMatrix(t)
	theirs, nobody := w.images["bob/secret"], newRawImage("nobody", "nobody/ever")
	w.blob("mallory/x", []byte("{}"))
	ask := func(method, target string, body any, header ...string) *rawAnswer {
		return w.ask("stranger", method, target, body, append(header, "X-Request-Id", "same")...)
	}
	config := rawDescribe(rawOCIConfig, []byte("{}"))
	layer := func(image rawImage, n int, mediaType string) rawDescriptor {
		d := rawDescribe(mediaType, image.blobs[n])
		d.Size = 7 // who names a digest need not know more
		return d
	}
	child := func(image rawImage) rawDescriptor {
		d := rawDescribe(rawOCIManifest, image.manifest)
		d.Size, d.Platform = 7, map[string]string{"os": "kraftcloud", "architecture": "x86_64"}
		return d
	}
	const foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar"
	for _, m := range []struct {
		what, mediaType string
		of              func(rawImage) []byte
		status          int
	}{
		{"config", rawOCIManifest, func(i rawImage) []byte {
			return rawManifestOf(layer(i, 2, rawOCIConfig), config.marked("org.unikraft.kernel.image", "x"))
		}, 400},
		{"layer", rawOCIManifest, func(i rawImage) []byte { return rawManifestOf(config, layer(i, 1, rawOCILayer)) }, 400},
		{"ROM", rawOCIManifest, func(i rawImage) []byte { return rawManifestOf(config, layer(i, 1, "application/vnd.unikraft.rom.v1")) }, 400},
		{"foreign layer", rawOCIManifest, func(i rawImage) []byte { return rawManifestOf(config, layer(i, 0, foreign)) }, 201},
		{"foreign kernel", rawOCIManifest, func(i rawImage) []byte {
			return rawManifestOf(config, layer(i, 0, foreign).marked("org.unikraft.kernel.image", "/unikraft/bin/kernel"))
		}, 201},
		{"child", rawOCIIndex, func(i rawImage) []byte { return rawIndexOf(child(i)) }, 201},
		{"subject", rawOCIManifest, func(i rawImage) []byte {
			return rawJSON(map[string]any{"schemaVersion": 2, "mediaType": rawOCIManifest, "config": config, "layers": []any{}, "subject": child(i)})
		}, 201},
	} {
		var answers []string
		for _, image := range []rawImage{theirs, nobody} {
			body := m.of(image)
			tag := strings.ReplaceAll(m.what, " ", "-")
			text := ""
			for _, a := range []*rawAnswer{
				ask("PUT", "/v2/mallory/x/manifests/"+tag, body, "Content-Type", m.mediaType),
				ask("GET", "/v2/mallory/x/manifests/"+tag, nil),
				ask("GET", "/v1/images?tag=mallory/x:"+tag, nil),
				ask("GET", "/v1/images/list?tag=mallory/x:"+tag, nil),
				ask("GET", "/v2/mallory/x/manifests/"+rawDigest(image.manifest), nil),
				ask("GET", "/v2/mallory/x/blobs/"+rawDigest(image.blobs[0]), nil),
				ask("GET", "/v2/mallory/x/blobs/"+rawDigest(image.blobs[1]), nil),
				ask("GET", "/v2/mallory/x/blobs/"+rawDigest(image.blobs[2]), nil),
				ask("POST", "/v2/mallory/x/blobs/uploads/?mount="+rawDigest(image.blobs[1]), nil),
				ask("GET", "/v2/mallory/x/referrers/"+rawDigest(image.index), nil),
				ask("GET", "/v1/images?digest="+rawDigest(image.manifest), nil),
				ask("GET", "/v1/users/quotas", nil),
				ask("DELETE", "/v2/mallory/x/manifests/"+tag, nil),
				ask("DELETE", "/v2/mallory/x/manifests/"+rawDigest(body), nil),
			} {
				if text == "" && a.status != m.status {
					t.Errorf("a manifest with another's %s: %d %s, want %d", m.what, a.status, a.body, m.status)
				}
				text += fmt.Sprintf("%d %s\n", a.status, matrixVolatile.ReplaceAll(a.body, nil))
			}
			for name, part := range map[string][]byte{
				"<made>": body, "<manifest>": image.manifest, "<index>": image.index, "<0>": image.blobs[0], "<1>": image.blobs[1], "<2>": image.blobs[2],
			} {
				text = strings.ReplaceAll(text, rawDigest(part), name)
			}
			answers = append(answers, matrixUUID.ReplaceAllString(matrixCreated.ReplaceAllString(text, ""), "<uuid>"))
		}
		if answers[0] != answers[1] {
			t.Errorf("another's %s and nobody's can be told apart:\n%s\n%s", m.what, answers[0], answers[1])
		}
	}
}

var (
	matrixUUID    = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`)
	matrixCreated = regexp.MustCompile(`"created_at":"[^"]*"`)
)

// TestMatrixReferrers: what refers to an official image in another's repository
// is nobody else's to see, also not through the tag that stands in for the list.
func TestMatrixReferrers(t *testing.T) {
	w := newMatrix(t)
	subject := w.images["official/nginx"]
	target := rawDigest(subject.index)
	w.blob("bob/secret", []byte("{}"))
	w.blob("mallory/x", []byte("{}"))
	artifact := rawJSON(map[string]any{
		"schemaVersion": 2, "mediaType": rawOCIManifest, "artifactType": "application/x.secret", "config": rawDescribe(rawOCIConfig, []byte("{}")), "layers": []any{},
		"subject": rawDescribe(rawOCIIndex, subject.index),
	})
	w.must(201, "PUT", "/v2/bob/secret/manifests/"+rawDigest(artifact), artifact, "Content-Type", rawOCIManifest)
	// A list of the caller's own that names it.
	list := rawIndexOf(rawDescribe(rawOCIManifest, artifact), rawDescribe(rawOCIManifest, w.images["bob/secret"].manifest))
	a := w.ask("stranger", "PUT", "/v2/mallory/x/manifests/"+strings.Replace(target, ":", "-", 1), list, "Content-Type", rawOCIIndex)
	if a.status != 201 {
		t.Fatalf("a list of referrers: %d %s", a.status, a.body)
	}
	for _, repository := range []string{"nginx", "official/nginx", "mallory/x"} {
		for _, query := range []string{"", "?artifactType=application/x.secret", "?last=sha256:0"} {
			a := w.ask("stranger", "GET", "/v2/"+repository+"/referrers/"+target+query, nil)
			if a.status != 200 || !strings.Contains(string(a.body), `"manifests":[]`) {
				t.Errorf("referrers in %s%s: %d %s", repository, query, a.status, a.body)
			}
		}
	}
	if a := w.ask("bob", "GET", "/v2/bob/secret/referrers/"+target, nil); !strings.Contains(string(a.body), rawDigest(artifact)) {
		t.Errorf("its owner does not see it: %s", a.body)
	}
}

// TestMatrixNeighbours: a right ends where the name does, and holds for all
// that lies below it.
func TestMatrixNeighbours(t *testing.T) {
	w := newMatrix(t)
	for _, repository := range []string{"alice/app2", "alice/app-x", "alice/app/below", "alicex/app", "alice-x/app", "official2/nginx", "nginxx/y"} {
		w.push(repository, "latest", newRawImage("n", repository))
	}
	index := rawIndexOf()
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
			read, write := matrixCell{method: "GET", caller: caller, status: 404}, matrixCell{method: "PUT", caller: caller, status: 403}
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
				shown := regexp.MustCompile(`["/]` + row.repository + `["@]`).Match(w.ask(caller, "GET", list, nil).body)
				if shown != (read.status == 200) {
					t.Errorf("%s: %s shows %s: %v", caller, list, row.repository, shown)
				}
			}
			target := "/v2/" + row.repository + "/manifests/new"
			w.check(write, target, w.ask(caller, "PUT", target, index, "Content-Type", rawOCIIndex))
		}
	}
}
