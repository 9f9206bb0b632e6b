package test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// requireOrSkip is needs, for tools that CI must have: it lists them in
// TEST_REQUIRE, separated by commas, so that no test is skipped unseen.
func requireOrSkip(t testing.TB, tool string, programs ...string) {
	t.Helper()
	for _, program := range append(programs, tool) {
		if _, err := exec.LookPath(program); err != nil && required(tool) {
			t.Fatalf("needs %s, which is not installed, and TEST_REQUIRE holds %s", program, tool)
		}
		needs(t, program)
	}
}

func required(tool string) bool {
	return slices.Contains(strings.Split(os.Getenv("TEST_REQUIRE"), ","), tool)
}

// onlyIfRequired skips a test that builds a tool for minutes, unless it is asked
// for: a plain go test is to end soon.
func onlyIfRequired(t testing.TB, tool, what string) {
	t.Helper()
	if !required(tool) {
		t.Skipf("skipped: needs %s, to build which takes minutes; TEST_REQUIRE=%s does", what, tool)
	}
}

// runTool runs a program that must succeed, and returns what it prints.
func runTool(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(cmd.Args, " "), err, &stdout, &stderr)
	}
	return stdout.String()
}

// skopeo copies with all that a test wants of it: no policy, and plain HTTP.
func skopeo(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "skopeo", append([]string{"--insecure-policy", "copy", "--all"}, args...)...)
}

// TestSkopeoPreserved copies images as they are.
func TestSkopeoPreserved(t *testing.T) {
	requireOrSkip(t, "skopeo")
	t.Parallel()
	b, ctx := start(t), testContext(t)
	for _, f := range fixtures {
		t.Run(f.name, func(t *testing.T) {
			if f.lies {
				t.Skip("skopeo wants to correct the sizes, and may not")
			}
			repository := "alice/" + f.name
			runTool(t, skopeo(ctx, "--preserve-digests", "--dest-tls-verify=false",
				"oci:"+f.dir()+":"+f.tag, "docker://"+b.Host+"/"+repository+":"+f.tag))
			wantFixture(t, b, f, repository, f.tag)

			name, digest := digestByTag(t, b, repository+":"+f.tag)
			pulled := t.TempDir()
			runTool(t, skopeo(ctx, "--preserve-digests", "--src-tls-verify=false",
				"docker://"+b.Host+"/"+name+"@"+digest, "oci:"+pulled+":pulled"))
			sameBlobs(t, pulled, f.dir())
		})
	}
}

// TestSkopeoRecompressed copies images without asking to keep them as they are:
// skopeo compresses the layers and drops their annotations, so digests and
// sizes are others, and what a layer is can only be seen inside of it.
func TestSkopeoRecompressed(t *testing.T) {
	requireOrSkip(t, "skopeo")
	t.Parallel()
	b, ctx := start(t), testContext(t)
	for _, f := range fixtures {
		t.Run(f.name, func(t *testing.T) {
			repository := "alice/" + f.name
			runTool(t, skopeo(ctx, "--dest-tls-verify=false", "oci:"+f.dir()+":"+f.tag, "docker://"+b.Host+"/"+repository+":"+f.tag))
			copied := recompressed(t, b, f, repository)
			if f.platforms[0].Kernel != nil || f.platforms[0].Initrd != nil {
				if copied.digest == f.digest || copied.size == f.size {
					t.Errorf("skopeo copied it as it is: %s, %d bytes", copied.digest, copied.size)
				}
			}
			wantFixture(t, b, copied, repository, f.tag)
		})
	}
}

// recompressed says what the API must say of a fixture whose layers were
// compressed on the way: all as it was but for the digests, sizes and media
// types that the registry serves now.
func recompressed(t *testing.T, b *Berth, f fixture, repository string) fixture {
	t.Helper()
	var index struct{ Manifests []rawDescriptor }
	raw := b.get(t, "/v2/"+repository+"/manifests/"+f.tag, "application/vnd.oci.image.index.v1+json")
	if err := json.Unmarshal(raw, &index); err != nil || len(index.Manifests) != len(f.platforms) {
		t.Fatalf("%v, want %d manifests: %s", err, len(f.platforms), raw)
	}
	f.digest = rawDigest(raw)
	chosen := slices.IndexFunc(f.platforms, func(p entryPlatform) bool { return p.Size == f.size })
	f.platforms = slices.Clone(f.platforms)
	for i, m := range index.Manifests {
		p := &f.platforms[i]
		var manifest struct{ Layers []rawDescriptor }
		raw := b.get(t, "/v2/"+repository+"/manifests/"+m.Digest, m.MediaType)
		if err := json.Unmarshal(raw, &manifest); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(raw, []byte("org.unikraft.kernel.initrd")) {
			t.Errorf("skopeo kept the layers' annotations: %s", raw)
		}
		was := slices.DeleteFunc([]*entryPart{p.Kernel, p.Initrd}, func(part *entryPart) bool { return part == nil })
		for j := range p.ROMs {
			was = append(was, &p.ROMs[j])
		}
		if len(was) != len(manifest.Layers) {
			t.Fatalf("want %d layers: %s", len(was), raw)
		}
		p.Digest, p.Size = m.Digest, 0
		is := map[*entryPart]entryPart{}
		for j, layer := range manifest.Layers {
			content := b.get(t, "/v2/"+repository+"/blobs/"+layer.Digest, "")
			if rawDigest(unpacked(t, layer.MediaType, content)) != was[j].Digest {
				t.Errorf("layer %d of %s is not what was copied", j, m.Digest)
			}
			is[was[j]] = entryPart{layer.Digest, int64(len(content)), layer.MediaType}
			p.Size += int64(len(content))
		}
		roms := []entryPart{}
		for j := range p.ROMs {
			roms = append(roms, is[&p.ROMs[j]])
		}
		p.ROMs = roms
		for _, part := range []**entryPart{&p.Kernel, &p.Initrd} {
			if *part != nil {
				now := is[*part]
				*part = &now
			}
		}
		if i == chosen {
			f.size = p.Size
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

// TestDocumentedCommands runs the three commands of the API's first document
// as they are printed, with nothing replaced but the host and the digest that
// is printed shortened. There are no accounts: a token is ignored.
func TestDocumentedCommands(t *testing.T) {
	needs(t, "sh", "curl")
	t.Parallel()
	b := start(t)
	f := fixtureNamed(t, "kraft-hello")
	for _, repository := range []string{"alice/myapp", "alice/untagged", "bob/myapp"} {
		if err := pushGGCR(t, b, f.dir(), f.tag, repository); err != nil {
			t.Fatal(err)
		}
	}
	b.must(t, http.StatusAccepted, http.MethodDelete, "/v2/alice/untagged/manifests/latest", nil)
	mine, untagged, other := f.v1("alice/myapp", "latest"), f.v1("alice/untagged"), f.v1("bob/myapp", "latest")

	for _, test := range []struct {
		name, command string
		want          []entryV1
	}{
		{
			name: "all available images",
			command: `curl -X GET \
-H "Authorization: Bearer ${KRAFTCLOUD_TOKEN}" \
"https://api.fra0.kraft.cloud/v1/images/list"
`,
			want: []entryV1{mine, untagged, other},
		},
		{
			name: "all your tagged images",
			command: `curl -X GET \
-H "Authorization: Bearer ${KRAFTCLOUD_TOKEN}" \
"https://api.fra0.kraft.cloud/v1/images/list?namespace\=${KRAFTCLOUD_USER}\&tagged" \
`,
			want: []entryV1{mine},
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
			want: []entryV1{mine},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			command := strings.NewReplacer("https://api.fra0.kraft.cloud", b.URL, "sha256:c4c2919...f03db26", f.digest).Replace(test.command)
			cmd := exec.CommandContext(testContext(t), "sh", "-c", command)
			cmd.Dir = t.TempDir()
			cmd.Env = append(os.Environ(), "KRAFTCLOUD_TOKEN=bm9ib2R5Om5vdGhpbmc=", "KRAFTCLOUD_USER=alice",
				"no_proxy=127.0.0.1", "CURL_HOME="+filepath.Join(cmd.Dir, "none"))
			var a answerAPI
			decodeStrictly(t, []byte(runTool(t, cmd)), &a)
			if a.Status != "success" || a.Data == nil || len(a.Data.Images) != len(test.want) {
				t.Fatalf("got %+v, want %d images", a, len(test.want))
			}
			for i, raw := range a.Data.Images {
				sameEntry(t, test.name, raw, test.want[i])
			}
		})
	}
}
