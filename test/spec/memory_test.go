package spec

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// grows runs fn and fails if it makes berth larger by more than so many bytes.
// berth is started again before, so that what it had for the pushes is not
// there for fn to be hidden in.
func grows(t *testing.T, b *harness.Berth, most int64, fn func()) {
	t.Helper()
	harness.Grown(t, most, func() int64 {
		b.Stop()
		b.Restart()
		base := b.RSS()
		b.ResetPeak()
		fn()
		return b.Peak() - base
	})
}

// manyMembers is a JSON object, or an array of its keys, of so many bytes.
func manyMembers(object bool, size int) string {
	var b strings.Builder
	for i := 0; b.Len() < size-12; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		if fmt.Fprintf(&b, `"%05x`, i); object {
			b.WriteString(`":"`)
		}
		b.WriteByte('"')
	}
	if object {
		return "{" + b.String() + "}"
	}
	return "[" + b.String() + "]"
}

// TestReferrersMemory asks what refers to an image: few manifests, each
// with 300,000 tiny annotations.
func TestReferrersMemory(t *testing.T) {
	s := specified(t)
	const repository, count = "alice/referred", 10
	image := s.image(repository, "referred")
	d := harness.Digest(image)
	s.put(repository, "v1", image)
	small := s.artifact(repository, d, len(image), signatureType, "small", map[string]string{"key": "value"})
	s.put(repository, harness.Digest(small), small)
	all := []string{harness.Digest(small)}
	annotations := manyMembers(true, 3600<<10)
	for i := range count {
		m := s.artifact(repository, d, len(image), signatureType, fmt.Sprint(i), nil)
		m = []byte(strings.Replace(string(m), `"annotations":{`, `"annotations":`+annotations[:len(annotations)-1]+`,`, 1))
		s.put(repository, harness.Digest(m), m)
		all = append(all, harness.Digest(m))
	}
	const most = 32 << 20
	grows(t, s.b, most, func() { s.referred(repository, d, "?artifactType=none") })
	grows(t, s.b, most, func() { s.referred(repository, d, "?artifactType="+signatureType, all...) })
	list, _ := s.referrers(repository, d, "")
	i := slices.IndexFunc(list, func(r harness.Referrer) bool { return r.Digest == harness.Digest(small) })
	if i < 0 || list[i].Annotations["key"] != "value" {
		t.Errorf("the small referrer is not listed with its annotations: %d", i)
	}

	// What older clients push in place of the list may be as large.
	fallback := harness.JSON(map[string]any{"schemaVersion": 2, "mediaType": harness.OCIIndex, "manifests": []any{
		map[string]any{"mediaType": harness.OCIManifest, "digest": d, "size": len(image), "annotations": json.RawMessage(annotations)},
	}})
	s.put(repository, strings.Replace(d, ":", "-", 1), fallback)
	grows(t, s.b, most, func() { s.referred(repository, d, "?artifactType=none") })
}
