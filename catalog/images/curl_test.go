package images

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

// TestCurl runs the v1 document's three commands as they are printed, with
// nothing changed but the host and the shortened digest.
func TestCurl(t *testing.T) {
	for _, tool := range []string{"sh", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	f := shop()
	for i, name := range []string{"alice/myapp", "alice/untagged", "bob/myapp"} {
		e := newImage(name, 20+i, "latest")
		if name == "alice/untagged" {
			e.Tags = nil
		}
		f.entries = append(f.entries, e)
	}
	server := serve(t, f, Options{})
	for _, test := range []struct {
		name, command string
		count         int // of images in the answer
	}{
		{
			name: "all images",
			command: `curl -X GET \
-H "Authorization: Bearer ${KRAFTCLOUD_TOKEN}" \
"https://api.fra0.kraft.cloud/v1/images/list"
`,
			count: len(f.entries),
		},
		{
			name: "all your tagged images",
			command: `curl -X GET \
-H "Authorization: Bearer ${KRAFTCLOUD_TOKEN}" \
"https://api.fra0.kraft.cloud/v1/images/list?namespace\=${KRAFTCLOUD_USER}\&tagged" \
`,
			count: 5,
		},
		{
			name: "a specific digest",
			command: `curl -X GET \
-H "Authorization: Bearer ${KRAFTCLOUD_TOKEN}" \
-H "Content-Type: application/json" \
"https://api.fra0.kraft.cloud/v1/images/list" \
-d "{
'digest': '${KRAFTCLOUD_USER}/myapp@sha256:c4c2919...f03db26'
}"
`,
			count: 1,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			command := strings.ReplaceAll(test.command, "https://api.fra0.kraft.cloud", server.URL)
			command = strings.ReplaceAll(command, "sha256:c4c2919...f03db26", at("alice/myapp", 20))
			cmd := exec.Command("sh", "-c", command)
			cmd.Env = append(cmd.Environ(), "KRAFTCLOUD_TOKEN=dG9rZW4=", "KRAFTCLOUD_USER=alice")
			var stderr strings.Builder
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v: %s", err, stderr.String())
			}
			var a answer
			if err := json.Unmarshal(out, &a); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if a.Status != "success" || len(a.Data.Images) != test.count {
				t.Errorf("got %v, want %d images: %s", a.names(), test.count, out)
			}
			for _, image := range a.Data.Images {
				digest, _ := image["digest"].(string)
				if test.count < len(f.entries) && (!strings.HasPrefix(digest, "alice/") || strings.HasPrefix(digest, "alice/untagged")) {
					t.Errorf("%s is in the answer", digest)
				}
			}
		})
	}
}
