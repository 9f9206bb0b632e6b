package hostile

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

func TestPaths(t *testing.T) {
	against(t, func(h *target) {
		for _, path := range []string{
			"/v2//good/app/manifests/before", "/v2/good//app/manifests/before", "/v2/good/app/manifests//before",
			"/v2/bad/../good/app/manifests/before", "/v2/./good/app/manifests/before", "/v2/good/app/manifests/../manifests/before",
			"/v2/bad/%2e%2e/good/app/manifests/before", "/v2/bad/%2E%2E/good/app/manifests/before", "/v2/good%2Fapp/manifests/before",
			"/v2/good/app%2fmanifests/before", "/v2/good/app/manifests/before%00", "/v2/good/app/manifests/%62efore",
			"/v2/good/app/manifests/before/", "/v2/good/app/blobs/..%2f..%2fmanifests", "/v2/..%2f..%2f..%2fetc/passwd/manifests/x",
			"/v2/good/app/manifests/", "/v2/good/app/blobs/", "/v2/good", "/v2/../v1/images", "/v2/_catalog/", "/v2/good/app/tags/list/",
			"/v1//images", "/v1/./images", "/v1/%69mages", "/v1/images/..%2fimages", "/v1/", "/v1/images/x", "/v2/good\\app/manifests/before",
			"/v2/" + strings.Repeat("a/", 10000) + "manifests/x",
		} {
			h.refused(h.wire("GET "+path+" HTTP/1.1\r\nHost: "+h.b.Host+"\r\nConnection: close\r\n\r\n"), "GET "+path, 400, 404)
		}
	})
}

// TestForms puts parameters where only the embedded registry would look
// for them: into the body.
func TestForms(t *testing.T) {
	against(t, func(h *target) {
		secret := []byte("somebody else's blob")
		if err := h.PushBlob("bob/secret", secret); err != nil {
			t.Fatal(err)
		}
		form := "mount=" + harness.Digest(secret) + "&from=bob/secret"
		multipart := "--x\r\nContent-Disposition: form-data; name=\"mount\"\r\n\r\n" + harness.Digest(secret) +
			"\r\n--x\r\nContent-Disposition: form-data; name=\"from\"\r\n\r\nbob/secret\r\n--x--\r\n"
		for contentType, body := range map[string]string{
			"application/x-www-form-urlencoded": form, "APPLICATION/X-WWW-FORM-URLENCODED; charset=x": form,
			"application/x-www-form-urlencoded;": form, "multipart/form-data; boundary=x": multipart, "Multipart/Mixed; boundary=\"x\"": multipart,
		} {
			a := h.ask("POST", "/v2/alice/app/blobs/uploads/", body, "Content-Type", contentType)
			if a.Status != 202 {
				t.Errorf("a form as %s: %d, want an upload to begin", contentType, a.Status)
			}
			if a := h.ask("HEAD", "/v2/alice/app/blobs/"+harness.Digest(secret), nil); a.Status != 404 {
				t.Errorf("a form as %s mounted a blob", contentType)
			}
			// The state of another upload, given in the body.
			location, err := h.Upload("alice/app")
			if err != nil {
				t.Fatal(err)
			}
			location.RawQuery = ""
			h.refused(h.ask("PUT", location.String(), "digest="+harness.Digest(secret), "Content-Type", contentType), "an upload closed by a form")
		}
	})
}

func TestHeaders(t *testing.T) {
	against(t, func(h *target) {
		a := h.ask("POST", "/v2/good/app/blobs/uploads/", nil, "X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "https",
			"Forwarded", "host=evil.example;proto=https", "X-Forwarded-For", "192.0.2.1", "X-Forwarded-Port", "1")
		if location := a.Header.Get("Location"); a.Status != 202 || strings.Contains(location, "evil") {
			t.Errorf("forwarded headers: %d, Location %q", a.Status, location)
		}
		image := harness.NewImage("k", "before")
		for _, contentType := range []string{"garbage", "application/json", "text/html; charset", ";;;", "a/b; c=\"", strings.Repeat("x", 10000),
			"application/vnd.docker.distribution.manifest.v1+prettyjws", harness.OCIIndex} {
			h.refused(h.ask("PUT", "/v2/good/app/manifests/x", image.Manifest, "Content-Type", contentType), "manifest as "+contentType, 400, 415)
		}
		for _, body := range []string{"", "null", "[]", "{", "{}", `"x"`, `{"mediaType":1}`, `{"schemaVersion":1,"mediaType":"` + harness.OCIManifest + `"}`,
			`{"schemaVersion":2,"mediaType":"` + harness.OCIManifest + `","config":{"digest":"x"},"layers":[]}`,
			`{"schemaVersion":2,"mediaType":"` + harness.OCIManifest + `","config":{"digest":"` + harness.NoDigest + `","size":-1},"layers":[{}]}`,
			`{"schemaVersion":2,"mediaType":"` + harness.OCIManifest + `"}`, `{"schemaVersion":2,"mediaType":"` + harness.OCIManifest + `","layers":{}}`, "\x00"} {
			h.refused(h.ask("PUT", "/v2/good/app/manifests/x", body, "Content-Type", harness.OCIManifest), fmt.Sprintf("manifest %q", body), 400)
		}
		blob := "/v2/good/app/blobs/" + harness.Digest(image.Blobs[0])
		for _, value := range []string{"garbage", "bytes=", "bytes=a-b", "bytes=-", "bytes=5-1", "bytes=999999999-", "bytes=-0", "lines=1-2",
			"bytes=0-99999999999999999999", "bytes=" + strings.Repeat("0-0,", 5000) + "0-0"} {
			a := h.ask("GET", blob, nil, "Range", value)
			switch {
			case a.Status == 416:
				h.refused(a, "Range "+value, 416)
			case a.Status != 200 && a.Status != 206, len(a.Body) > 1<<20:
				t.Errorf("Range %.50s: %d and %d bytes", value, a.Status, len(a.Body))
			}
		}
		for _, value := range []string{"garbage", "5-1", "bytes 0-1/2", "a-b", "-1-2", "0-99999999999999999999", "7-9", "0-1-2", "0-100"} {
			for _, method := range []string{"PATCH", "PUT"} {
				location, err := h.Upload("good/app")
				if err != nil {
					t.Fatal(err)
				}
				target := location.String()
				if method == "PUT" {
					target = harness.WithDigest(location, harness.Digest([]byte("abc")))
				}
				a := h.ask(method, target, "abc", "Content-Range", value, "Content-Type", "application/octet-stream")
				h.refused(a, method+" with Content-Range "+value, 400, 416)
			}
		}
	})
}

// TestUploads asks for uploads that are not.
func TestUploads(t *testing.T) {
	against(t, func(h *target) {
		location, err := h.Upload("good/app")
		if err != nil {
			t.Fatal(err)
		}
		other := *location
		other.Path = strings.Replace(other.Path, "good/app", "bad/app", 1)
		unsigned := *location
		unsigned.RawQuery = "_state=garbage"
		for _, target := range []string{other.String(), unsigned.String(), "/v2/good/app/blobs/uploads/x", "/v2/good/app/blobs/uploads/00000000-0000-0000-0000-000000000000",
			"/v2/good/app/blobs/uploads/" + strings.Repeat("x", 1000)} {
			for _, method := range []string{"GET", "PATCH", "PUT", "DELETE"} {
				if (method == "GET" || method == "DELETE") && target == unsigned.String() {
					continue // to ask how far an upload has come, and to cancel it, takes no state
				}
				h.refused(h.ask(method, target, "x"), method+" "+target, 400, 404)
			}
		}
		if a := h.ask("PUT", harness.WithDigest(location, harness.Digest([]byte("x"))), "x"); a.Status != 201 {
			t.Errorf("the upload itself: %d %s", a.Status, a.Body)
		}
	})
}

// TestBodies sends the images API what it cannot use.
func TestBodies(t *testing.T) {
	get := func(h *target, length int, body string) string {
		return fmt.Sprintf("GET /v1/images HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", h.b.Host, length, body)
	}
	against(t, func(h *target) {
		h.refused(h.wire(get(h, 100, `{"digest":"`)), "a body that is cut off", 400)
		h.refused(h.wire("GET /v1/images HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"dig"), "a chunked body that is cut off", 400)
		h.refused(h.wire("GET /v1/images HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), "a body of bad chunks", 400)
		h.refused(h.ask("GET", "/v1/images", strings.Repeat(" ", 2<<20)), "2 MiB of blanks", 413)
		h.refused(h.ask("GET", "/v1/images", io.MultiReader(strings.NewReader(strings.Repeat(" ", 2<<20)))), "2 MiB in chunks", 413)

		// As many as are allowed, none of them there, so that each has to be
		// looked for everywhere; and as many as fit into the body.
		fill := func(item string, most int) string {
			n := min(most, (1<<20-2)/(len(fmt.Sprintf(item, 0))+1))
			items := make([]string, n)
			for i := range items {
				items[i] = fmt.Sprintf(item, i)
			}
			return "[" + strings.Join(items, ",") + "]"
		}
		for what, item := range map[string]string{
			"tags": `{"tag":"a:%06d"}`, "digests": `{"digest":"sha256:%064x"}`, "named digests": `{"digest":"a@sha256:%064x"}`,
		} {
			for _, path := range []string{"/v1/images", "/v1/images/list"} {
				h.refused(h.ask("GET", path, fill(item, 1000)), "a thousand "+what, 404)
				h.refused(h.ask("GET", path, fill(item, 1<<20)), "1 MiB of "+what, 400)
			}
		}
		for what, body := range map[string]string{
			"nested arrays":       strings.Repeat("[", 1<<20),
			"nested objects":      strings.Repeat(`{"a":`, 200_000),
			"closed arrays":       strings.Repeat("[", 500_000) + strings.Repeat("]", 500_000),
			"nested YAML":         strings.Repeat("[", 60_000),
			"YAML blocks":         strings.Repeat("- ", 30_000),
			"YAML aliases":        aliasBomb(),
			"YAML merges":         "a: &a {b: c}\n<<: [*a, *a]\n",
			"a YAML tag":          "!!binary x",
			"an endless key":      `{"` + strings.Repeat("k", 1<<20-10) + `":1`,
			"an array of nulls":   "[" + strings.Repeat("null,", 200_000) + "null]",
			"invalid UTF-8":       "\xff\xfe{",
			"a control character": "{\x00}",
			"a number":            "1e999999",
			"a wrong type":        `{"digest":{}}`,
			"several documents":   "a: b\n---\na: b\n",
		} {
			h.refused(h.ask("GET", "/v1/images", body), what, 400)
		}
	})
}

// aliasBomb is a few lines of YAML that stand for nine to the power of
// fifteen strings.
func aliasBomb() string {
	lines := []string{"a0: &a0 x"}
	for i := 1; i < 16; i++ {
		alias := fmt.Sprintf("*a%d", i-1)
		lines = append(lines, fmt.Sprintf("a%d: &a%d [%s]", i, i, strings.Join([]string{alias, alias, alias, alias, alias, alias, alias, alias, alias}, ",")))
	}
	return strings.Join(append(lines, "digest: *a15"), "\n")
}
