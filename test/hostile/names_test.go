package hostile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

func TestNames(t *testing.T) {
	against(t, func(h *target) {
		image := harness.NewImage("k", "names")
		longest := strings.Repeat("n/", 127) + "n" // 255
		longTag := strings.Repeat("T", 128)
		if digest, err := h.Push(longest, longTag, image); err != nil {
			t.Errorf("a name of %d and a tag of %d characters: %v", len(longest), len(longTag), err)
		} else if list, err := h.Listed("", `{"tag":"`+longest+":"+longTag+`"}`); err != nil || list[longest+"@"+digest] == nil {
			t.Errorf("the longest name is not found: %v (%v)", list, err)
		}
		for _, name := range []string{longest + "n", longest + "/n", strings.Repeat("n", 256), "Upper/app", "a..b/c", "-a/b", "a/b-", "ä/b", "a___b/c", "localhost:5000/app", "Example.com/app"} {
			h.refused(h.ask("POST", "/v2/"+name+"/blobs/uploads/", nil), "upload to "+name, 400)
			h.refused(h.ask("PUT", "/v2/"+name+"/manifests/v1", image.Manifest, "Content-Type", harness.OCIManifest), "manifest to "+name, 400)
			h.refused(h.ask("GET", "/v2/"+name+"/tags/list", nil), "tags of "+name, 400)
			h.refused(h.ask("GET", "/v1/images?namespace="+name, nil), "namespace "+name, 400)
		}
		for _, tag := range []string{longTag + "T", ".a", "-a", "a+b", "ä", "a b", strings.Repeat("T", 10000)} {
			tag = strings.ReplaceAll(tag, " ", "%20")
			h.refused(h.ask("PUT", "/v2/good/app/manifests/"+tag, image.Manifest, "Content-Type", harness.OCIManifest), "tag "+tag, 400, 404)
			h.refused(h.ask("GET", "/v2/good/app/manifests/"+tag, nil), "tag "+tag, 400, 404)
			h.refused(h.ask("GET", "/v1/images", `{"tag":"good/app:`+tag+`"}`), "lookup of tag "+tag, 400)
		}
	})
}

func TestDigests(t *testing.T) {
	against(t, func(h *target) {
		zeros := strings.Repeat("0", 64)
		for _, d := range []string{
			"sha256:" + strings.Repeat("g", 64), "sha256:" + strings.Repeat("A", 64), "sha256:" + zeros[1:],
			"sha256:" + zeros + "0", "sha256:", "md5:" + zeros[:32], "sha512:" + zeros, "SHA256:" + zeros,
			"sha256:" + strings.Repeat("0", 10000), "sha256:..", ":" + zeros, "sha256+b64:" + zeros,
		} {
			for _, route := range []string{"GET /v2/good/app/manifests/", "PUT /v2/good/app/manifests/", "DELETE /v2/good/app/manifests/",
				"GET /v2/good/app/blobs/", "DELETE /v2/good/app/blobs/"} {
				method, path, _ := strings.Cut(route, " ")
				h.refused(h.ask(method, path+d, "{}", "Content-Type", harness.OCIManifest), route+d, 400, 404)
			}
			location, err := h.Upload("good/app")
			if err != nil {
				t.Fatal(err)
			}
			h.refused(h.ask("PUT", harness.WithDigest(location, d), "x"), "blob as "+d, 400)
			h.refused(h.ask("GET", "/v1/images", `{"digest":"good/app@`+d+`"}`), "lookup of "+d, 400)
			h.refused(h.ask("GET", "/v1/images?digest="+d, nil), "query of "+d, 400)
			// A mount of what cannot be starts an upload, or is refused.
			if a := h.ask("POST", "/v2/good/app/blobs/uploads/?from=good/app&mount="+d, nil); a.Status != 202 {
				h.refused(a, "mount of "+d, 400)
			}
		}
		h.refused(h.ask("PUT", "/v2/good/app/manifests/"+harness.NoDigest, harness.NewImage("k", "before").Manifest, "Content-Type", harness.OCIManifest), "a manifest under another digest", 400)
		if d, err := h.DigestOf("good/app", harness.NoDigest); d != "" || err != nil {
			t.Errorf("a manifest under another digest is stored as %s (%v)", d, err)
		}
	})
}

func TestBlobLeavesNothingBehind(t *testing.T) {
	against(t, func(h *target) {
		content := []byte("not what its digest says")
		location, err := h.Upload("bad/app")
		if err != nil {
			t.Fatal(err)
		}
		h.refused(h.ask("PUT", harness.WithDigest(location, harness.NoDigest), content), "a blob under another digest", 400)
		for _, d := range []string{harness.NoDigest, harness.Digest(content)} {
			if a := h.ask("HEAD", "/v2/bad/app/blobs/"+d, nil); a.Status != 404 {
				t.Errorf("%s is there: %d", d, a.Status)
			}
		}
		_ = filepath.WalkDir(h.b.Data, func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() && (strings.Contains(path, "/bad/") || strings.Contains(path, harness.Digest(content)[7:]) || strings.Contains(path, harness.NoDigest[7:])) {
				t.Errorf("left behind: %s", strings.TrimPrefix(path, h.b.Data))
			}
			return nil
		})
	})
}
