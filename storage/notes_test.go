package storage

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage/reference"
)

// FuzzNote: whatever stands in a file of notes, what is read from it names a
// repository, digests and tags, and nothing else of storage.
func FuzzNote(f *testing.F) {
	d := digest.FromString("a")
	put, err := json.Marshal(Intent{Repository: "alice/app", Put: d, As: digest.SHA512.FromString("a"), Tags: []string{"v1"}, By: "alice"})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		"alice/app@" + string(d), "alice/app@", string(put), string(put[:len(put)-1]), `{}`, `{"repository":"a/b","put":"` + string(d) + `","unlink":["` + string(d) + `"],"untag":["v1"]}`, `{"repository":"a/b","put":"x"}`,
		`{"repository":"../b","put":"` + string(d) + `"}`, `{"repository":"a/b","put":"` + string(d) + `","tags":["../x"]}`, "@", "",
	} {
		f.Add(seed)
		f.Add(string(fill(seed)))
	}
	f.Fuzz(func(t *testing.T, content string) {
		n := parseNote([]byte(content))
		if n == nil {
			return
		}
		if !reference.IsName(n.Repository) {
			t.Errorf("the repository is %q", n.Repository)
		}
		if n.Change == nil {
			if n.Digest != "" && n.Digest.Validate() != nil {
				t.Errorf("the digest is %q", n.Digest)
			}
			return
		}
		c := n.Change
		if len(c.Untag)+len(c.Delete)+len(c.Unlink) > 0 || c.Repository != n.Repository || c.Put.Validate() != nil || c.As != "" && c.As.Validate() != nil {
			t.Errorf("the change is %+v", c)
		}
		for _, tag := range c.Tags {
			if !reference.IsTag(tag) || strings.Contains(tag, "/") {
				t.Errorf("a tag is %q", tag)
			}
		}
	})
}
