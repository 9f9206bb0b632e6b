package image_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/berth-oci/berth/catalog/image"
)

// TestReferrerLimits: annotations up to the limits are shown, all of them, and
// beyond either limit none is, also if a key that is given twice brings them.
func TestReferrerLimits(t *testing.T) {
	many := func(n int) string {
		all := make([]string, n)
		for i := range all {
			all[i] = fmt.Sprintf(`"%d":""`, i)
		}
		return "{" + strings.Join(all, ", ") + "}"
	}
	long := func(n int) string { return `{"a":"` + strings.Repeat("x", n-8) + `"}` }
	const most, bytes = image.MaxAnnotations, image.MaxAnnotationBytes
	for name, test := range map[string]struct {
		annotations string
		want        int
	}{
		"none":               {`{}`, 0},
		"null":               {`null`, 0},
		"as many as allowed": {many(most), most},
		"one more":           {many(most + 1), 0},
		"as long as allowed": {long(bytes - 1), 1},
		"longer":             {long(bytes + 1), 0},
		"twice":              {many(most/2+1) + `,"annotations":` + many(most/2+1), 0},
	} {
		_, got := image.Read([]byte(`{"annotations":` + test.annotations + `}`)).Referrer()
		if len(got) != test.want {
			t.Errorf("%s: %d annotations of a manifest, want %d", name, len(got), test.want)
		}
		if name == "twice" {
			continue
		}
		listed := image.Descriptors([]byte(`{"manifests":[{"digest":"a","annotations":` + test.annotations + `}]}`))
		if len(listed) != 1 {
			t.Fatalf("%s: %d descriptors", name, len(listed))
		}
		var shown struct{ Annotations map[string]string }
		if text, err := json.Marshal(listed[0]); err != nil || json.Unmarshal(text, &shown) != nil || len(shown.Annotations) != test.want {
			t.Errorf("%s: %d annotations of a descriptor, want %d (%v)", name, len(shown.Annotations), test.want, err)
		}
	}
	for _, wrong := range []string{`[]`, `{"a":1}`, `"a"`} {
		if listed := image.Descriptors([]byte(`{"manifests":[{"digest":"a","annotations":` + wrong + `}]}`)); listed != nil {
			t.Errorf("annotations %s: %v", wrong, listed)
		}
	}
}
