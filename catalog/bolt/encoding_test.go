package bolt

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
)

// records are manifests of every kind.
func records() map[string]image.Description {
	s := sampleOf(7)
	plain := image.Description{Digest: dgst("plain"), MediaType: "text/odd", Size: 3, Blobs: s.manifest.Blobs[:1], Subject: s.manifest.Digest, LayerBytes: 9}
	odd := s.manifest
	i := *odd.Image
	i.Created, odd.Created = time.Date(-5, 1, 1, 0, 0, 0, 7, time.UTC), time.Time{}
	i.Platforms = append(slices.Clone(i.Platforms), image.Platform{
		Digest: digest.SHA512.FromString("other"), ROMs: []image.Part{{Digest: dgst("rom"), Size: 4, MediaType: "x"}}, KernelArgs: []string{""},
	})
	odd.Image = &i
	large := s.index
	for n := range 3 * maxInline {
		m := image.Member{Digest: dgst(fmt.Sprint("child", n)), OS: "fc", Architecture: fmt.Sprint("arch", n), Index: n%5 == 0}
		large.Members, large.Children = append(large.Members, m), append(large.Children, m.Digest)
	}
	large.Members = append(large.Members, image.Member{Digest: "no usual digest"})
	return map[string]image.Description{"manifest": s.manifest, "index": s.index, "plain": plain, "odd": odd, "large": large, "empty": {Digest: dgst("empty")}}
}

func encoded(d image.Description) (value, apart []byte) {
	m := newRecord(d)
	e := newEncoder()
	m.encodeLists(e)
	return m.encode(), e.b
}

// TestEncoding: a manifest is read as it was written, also with fields that a
// later berth has added; and what is cut off or changed never does worse than not
// to be read.
func TestEncoding(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for name, want := range records() {
		value, apart := encoded(want)
		decode := func(value []byte) (*record, error) {
			return decodeRecord(want.Digest, value, func() []byte { return apart })
		}
		for _, v := range [][]byte{value, append(bytes.Clone(value), "what comes later"...)} {
			got, err := decode(v)
			if err != nil || !reflect.DeepEqual(got.Description, want) {
				t.Errorf("%s: got\n%+v, %v; want\n%+v", name, got.Description, err, want)
			}
		}
		for n := range value {
			_, _ = decode(value[:n])
			_, _ = decodeRecord(want.Digest, value, func() []byte { return apart[:min(n, len(apart))] })
		}
		for range 2000 {
			broken := bytes.Clone(value)
			for range 1 + r.IntN(3) {
				broken[r.IntN(len(broken))] = byte(r.Uint32())
			}
			_, _ = decode(broken)
		}
	}
}

// TestDigestKeys: digests sort as their texts do, whatever their algorithm, and
// each says where it ends.
func TestDigestKeys(t *testing.T) {
	var all []digest.Digest
	for n := range 50 {
		all = append(all, digest.SHA256.FromString(fmt.Sprint(n)), digest.SHA384.FromString(fmt.Sprint(n)), digest.SHA512.FromString(fmt.Sprint(n)))
	}
	slices.Sort(all)
	for n, d := range all {
		if n > 0 && bytes.Compare(digestKey(all[n-1]), digestKey(d)) >= 0 {
			t.Errorf("%s comes before %s", d, all[n-1])
		}
	}
	for _, d := range append(all, "", "sha256:ABCD", "sha256:"+digest.Digest(bytes.Repeat([]byte("A"), 64)), "other:1") {
		got, rest, ok := cutDigest(append(digestKey(d), "rest"...))
		if !ok || got != d || string(rest) != "rest" {
			t.Errorf("%q is read as %q, %q, %v", d, got, rest, ok)
		}
	}
}

// TestTimeKeys: times sort as they are, in all years that berth may meet.
func TestTimeKeys(t *testing.T) {
	var last []byte
	for _, year := range []int{0, 1, 1969, 1970, 2026, 9999, 20000} {
		for _, nano := range []int{0, 1, 999_999_999} {
			k := timeKey(time.Date(year, 1, 1, 0, 0, 0, nano, time.UTC))
			if len(k) != timeLength || bytes.Compare(last, k) >= 0 {
				t.Errorf("%d with %d ns: %x after %x", year, nano, k, last)
			}
			last = k
		}
	}
}
