package docs

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// TestDocumentedCommands runs the three commands of the API's first document
// as they are printed, with nothing replaced but the host and the digest that
// is printed shortened. There are no accounts: a token is ignored.
func TestDocumentedCommands(t *testing.T) {
	harness.Needs(t, "sh", "curl")
	t.Parallel()
	b := harness.Start(t)
	f := harness.FixtureNamed(t, "kraft-hello")
	for _, repository := range []string{"alice/myapp", "alice/untagged", "bob/myapp"} {
		if err := harness.PushGGCR(t, b, f.Dir(), f.Tag, repository); err != nil {
			t.Fatal(err)
		}
	}
	b.Must(t, http.StatusAccepted, http.MethodDelete, "/v2/alice/untagged/manifests/latest", nil)
	mine, untagged, other := f.V1("alice/myapp", "latest"), f.V1("alice/untagged"), f.V1("bob/myapp", "latest")

	for _, test := range []struct {
		name, command string
		want          []harness.EntryV1
	}{
		{
			name: "all available images",
			command: `curl -X GET \
-H "Authorization: Bearer ${KRAFTCLOUD_TOKEN}" \
"https://api.fra0.kraft.cloud/v1/images/list"
`,
			want: []harness.EntryV1{mine, untagged, other},
		},
		{
			name: "all your tagged images",
			command: `curl -X GET \
-H "Authorization: Bearer ${KRAFTCLOUD_TOKEN}" \
"https://api.fra0.kraft.cloud/v1/images/list?namespace\=${KRAFTCLOUD_USER}\&tagged" \
`,
			want: []harness.EntryV1{mine},
		},
		{
			name: "the image for a specific digest",
			command: `curl -X GET \
-H "Authorization: Bearer ${KRAFTCLOUD_TOKEN}" \
-H "Content-Type: application/json" \
"https://api.fra0.kraft.cloud/v1/images/list" \
-d "{
'digest': '${KRAFTCLOUD_USER}/myapp@sha256:c4c2919...f03db26'
}"
`,
			want: []harness.EntryV1{mine},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			command := strings.NewReplacer("https://api.fra0.kraft.cloud", b.URL, "sha256:c4c2919...f03db26", f.Digest).Replace(test.command)
			cmd := exec.CommandContext(harness.TestContext(t), "sh", "-c", command)
			cmd.Dir = t.TempDir()
			cmd.Env = append(os.Environ(), "KRAFTCLOUD_TOKEN=bm9ib2R5Om5vdGhpbmc=", "KRAFTCLOUD_USER=alice",
				"no_proxy=127.0.0.1", "CURL_HOME="+filepath.Join(cmd.Dir, "none"))
			var a harness.ImagesAnswer
			harness.DecodeStrictly(t, []byte(harness.RunTool(t, cmd)), &a)
			if a.Status != "success" || a.Data == nil || len(a.Data.Images) != len(test.want) {
				t.Fatalf("got %+v, want %d images", a, len(test.want))
			}
			for i, raw := range a.Data.Images {
				harness.SameEntry(t, test.name, raw, test.want[i])
			}
		})
	}
}
