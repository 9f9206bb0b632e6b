package clients

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// TestSkopeoPreserved copies images as they are.
func TestSkopeoPreserved(t *testing.T) {
	harness.Require(t, "skopeo")
	t.Parallel()
	b, ctx := harness.Start(t), harness.TestContext(t)
	for _, f := range harness.Fixtures {
		t.Run(f.Name, func(t *testing.T) {
			if f.Lies {
				t.Skip("skopeo wants to correct the sizes, and may not")
			}
			repository := "alice/" + f.Name
			harness.RunTool(t, harness.Skopeo(ctx, "--preserve-digests", "--dest-tls-verify=false",
				"oci:"+f.Dir()+":"+f.Tag, "docker://"+b.Host+"/"+repository+":"+f.Tag))
			harness.WantFixture(t, b, f, repository, f.Tag)

			name, digest := harness.DigestByTag(t, b, repository+":"+f.Tag)
			pulled := t.TempDir()
			harness.RunTool(t, harness.Skopeo(ctx, "--preserve-digests", "--src-tls-verify=false",
				"docker://"+b.Host+"/"+name+"@"+digest, "oci:"+pulled+":pulled"))
			harness.SameBlobs(t, pulled, f.Dir())
		})
	}
}

// TestSkopeoRecompressed copies images without asking to keep them as they are:
// skopeo compresses the layers and drops their annotations, so digests and
// sizes are others, and what a layer is can only be seen inside of it.
func TestSkopeoRecompressed(t *testing.T) {
	harness.Require(t, "skopeo")
	t.Parallel()
	b, ctx := harness.Start(t), harness.TestContext(t)
	for _, f := range harness.Fixtures {
		t.Run(f.Name, func(t *testing.T) {
			repository := "alice/" + f.Name
			harness.RunTool(t, harness.Skopeo(ctx, "--dest-tls-verify=false", "oci:"+f.Dir()+":"+f.Tag, "docker://"+b.Host+"/"+repository+":"+f.Tag))
			copied := recompressed(t, b, f, repository)
			if f.Platforms[0].Kernel != nil || f.Platforms[0].Initrd != nil {
				if copied.Digest == f.Digest || copied.Size == f.Size {
					t.Errorf("skopeo copied it as it is: %s, %d bytes", copied.Digest, copied.Size)
				}
			}
			harness.WantFixture(t, b, copied, repository, f.Tag)
		})
	}
}

// recompressed says what the API must say of a fixture whose layers were
// compressed on the way: all as it was but for the digests, sizes and media
// types that the registry serves now.
func recompressed(t *testing.T, b *harness.Berth, f harness.Fixture, repository string) harness.Fixture {
	t.Helper()
	var index struct{ Manifests []harness.Descriptor }
	raw := b.Get(t, "/v2/"+repository+"/manifests/"+f.Tag, "application/vnd.oci.image.index.v1+json")
	if err := json.Unmarshal(raw, &index); err != nil || len(index.Manifests) != len(f.Platforms) {
		t.Fatalf("%v, want %d manifests: %s", err, len(f.Platforms), raw)
	}
	f.Digest = harness.Digest(raw)
	chosen := slices.IndexFunc(f.Platforms, func(p harness.EntryPlatform) bool { return p.Size == f.Size })
	f.Platforms = slices.Clone(f.Platforms)
	for i, m := range index.Manifests {
		p := &f.Platforms[i]
		var manifest struct{ Layers []harness.Descriptor }
		raw := b.Get(t, "/v2/"+repository+"/manifests/"+m.Digest, m.MediaType)
		if err := json.Unmarshal(raw, &manifest); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(raw, []byte("org.unikraft.kernel.initrd")) {
			t.Errorf("skopeo kept the layers' annotations: %s", raw)
		}
		was := slices.DeleteFunc([]*harness.EntryPart{p.Kernel, p.Initrd}, func(part *harness.EntryPart) bool { return part == nil })
		for j := range p.ROMs {
			was = append(was, &p.ROMs[j])
		}
		if len(was) != len(manifest.Layers) {
			t.Fatalf("want %d layers: %s", len(was), raw)
		}
		p.Digest, p.Size = m.Digest, 0
		is := map[*harness.EntryPart]harness.EntryPart{}
		for j, layer := range manifest.Layers {
			content := b.Get(t, "/v2/"+repository+"/blobs/"+layer.Digest, "")
			if harness.Digest(unpacked(t, layer.MediaType, content)) != was[j].Digest {
				t.Errorf("layer %d of %s is not what was copied", j, m.Digest)
			}
			is[was[j]] = harness.EntryPart{Digest: layer.Digest, Size: int64(len(content)), MediaType: layer.MediaType}
			p.Size += int64(len(content))
		}
		roms := []harness.EntryPart{}
		for j := range p.ROMs {
			roms = append(roms, is[&p.ROMs[j]])
		}
		p.ROMs = roms
		for _, part := range []**harness.EntryPart{&p.Kernel, &p.Initrd} {
			if *part != nil {
				now := is[*part]
				*part = &now
			}
		}
		if i == chosen {
			f.Size = p.Size
		}
	}
	return f
}

func unpacked(t testing.TB, mediaType string, content []byte) []byte {
	t.Helper()
	if !strings.HasSuffix(mediaType, "gzip") {
		return content
	}
	r, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if content, err = io.ReadAll(r); err != nil {
		t.Fatal(err)
	}
	return content
}
