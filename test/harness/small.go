package harness

import (
	"encoding/json"
	"slices"
	"testing"
	"time"
)

// SmallImage is a tiny unikernel of the shop, and what the API says of it.
type SmallImage struct {
	Fixture
	Repository string
	Tags       []string
}

// V1 is the image in the first form.
func (s SmallImage) V1() EntryV1 { return s.Fixture.V1(s.Repository, s.Tags...) }

// Current is the image in the current form, as a host lists it.
func (s SmallImage) Current(host string) EntryCurrent {
	return s.Fixture.Current(host, s.Repository, s.Tags...)
}

// UUID is the image's UUID.
func (s SmallImage) UUID() string { return UUIDOf(s.Repository, s.Digest) }

// Time is when the image was created.
func (s SmallImage) Time(t testing.TB) (at time.Time) {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, s.Created)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// PushSmall pushes a bare manifest with a kernel of a few bytes, without a tag
// if there is none.
func PushSmall(t testing.TB, b *Berth, repository, arg, created string, tags ...string) SmallImage {
	t.Helper()
	const kernelType = "application/vnd.unikraft.kernel.v1"
	const manifestType = "application/vnd.oci.image.manifest.v1+json"
	config, err := json.Marshal(map[string]any{
		"created": created, "os": "kraftcloud", "architecture": "x86_64",
		"config": map[string]any{"Cmd": []string{"/app", arg}},
	})
	if err != nil {
		t.Fatal(err)
	}
	layer := b.PutBlob(t, repository, kernelType, []byte("kernel"))
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType,
		"config": b.PutBlob(t, repository, "application/vnd.oci.image.config.v1+json", config),
		"layers": []Descriptor{layer},
	})
	if err != nil {
		t.Fatal(err)
	}
	digest := Digest(manifest)
	b.PutManifest(t, repository, digest, manifestType, manifest)
	for _, tag := range tags {
		b.PutManifest(t, repository, tag, manifestType, manifest)
	}
	slices.Sort(tags)
	args := []string{"/app", arg}
	return SmallImage{Fixture{
		Digest: digest, Created: created, Size: 6, Args: args, ArgsV1: "/app " + arg,
		Platforms: []EntryPlatform{{
			Digest: digest, OS: "kraftcloud", Architecture: "x86_64", Size: 6,
			Kernel: &EntryPart{layer.Digest, 6, kernelType}, ROMs: NoROMs, Args: args,
		}},
	}, repository, tags}
}
