//go:build unix

package docs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// TestAccounts follows the document on accounts, in a clone of the repository in
// which berth has just been started.
func TestAccounts(t *testing.T) {
	harness.Require(t, "skopeo")
	harness.Needs(t, "od", "base64", "sha256sum")
	t.Parallel()
	clone := folderWithImages(t)
	b := harness.Start(t, harness.WithData(filepath.Join(clone, "berth-data")))
	// skopeo compresses what it copies, so the digest is not the fixture's.
	const hello, empty = "/alice/hello@sha256:", `"images":[]`
	guide{file: "registry/access/README.md", dir: clone, host: b.Host}.follow(t, []shown{
		{"secret() {", nil, []string{"berth_"}},
		{`curl -u "root:$ROOT"`, []string{"401\n", `"status":"success"`, empty}, nil},
		{"ALICE=$(berth account add", nil, []string{"berth_"}},
		{"skopeo login", []string{"Login Succeeded!", hello}, []string{`"owner"`}},
		{`curl -u "bob:$BOB"`, []string{empty, "404\n"}, []string{"alice"}},
		{"grant bob write team", []string{"bob may now write team.", "bob may no longer read alice/hello."}, nil},
		{"CONTROLLER=$(", []string{"controller may now read alice, bob.", hello}, nil},
		{"BEARER=$(", []string{`"tags":["alice/hello:latest"]`}, nil},
		{"official/python", nil, nil},
		{"account publish", []string{"alice/hello is public now", hello, "alice/hello is not public any more."}, []string{"official", "nginx"}},
		{"/v1/users/quotas\nberth account show", []string{`"hard":{"image_storage_bytes":10737418240,`, `"images":1`, "10GiB", "in 1 image", "alice may hold 20GiB now.", "USED"}, nil},
		{"LAPTOP=$(", []string{`Revoked the token "laptop" of alice.`, "401\n", "ci "}, []string{"laptop  "}},
		{"CAROL=$(", []string{`"image_storage_bytes":1073741824`}, []string{"error"}},
	})
	for _, layout := range []string{"from-alice", "python", "public"} {
		if blobs := harness.BlobsOf(t, filepath.Join(clone, layout)); len(blobs) != 5 {
			t.Errorf("of %s, %d blobs were pulled", layout, len(blobs))
		}
	}
	file, err := os.ReadFile(filepath.Join(b.Data, "accounts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for where, text := range map[string]string{"the accounts file": string(file), "the log": b.Log.String()} {
		if strings.Contains(text, "berth_") {
			t.Errorf("%s holds a secret:\n%s", where, text)
		}
	}
}
