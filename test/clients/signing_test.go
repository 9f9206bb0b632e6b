package clients

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/registry"

	"github.com/berth-oci/berth/test/harness"
)

// The programs that sign and attach have a module file of their own, so that
// berth does not depend on what they do.
var (
	cosignProgram = harness.NewProgram(".ci/signing.mod", "github.com/sigstore/cosign/v3/cmd/cosign")
	regctlProgram = harness.NewProgram(".ci/signing.mod", "github.com/regclient/regclient/cmd/regctl")
)

// signingTool runs a program that was built, in a folder of its own where it
// finds no settings of the user's.
type signingTool struct {
	t    *testing.T
	path string
	dir  string
}

func newSigningTool(t *testing.T, program *harness.Program) *signingTool {
	t.Helper()
	harness.Long(t, "signing", "to build cosign and regctl takes minutes")
	path, err := program.Path()
	if err != nil {
		t.Fatal(err)
	}
	return &signingTool{t, path, t.TempDir()}
}

func (s *signingTool) cmd(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(harness.TestContext(s.t), s.path, args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "DOCKER_CONFIG="+s.dir, "REGCTL_CONFIG="+filepath.Join(s.dir, "regctl.json"),
		"COSIGN_PASSWORD=", "no_proxy=127.0.0.1", "NO_PROXY=127.0.0.1")
	return cmd
}

func (s *signingTool) run(args ...string) string {
	s.t.Helper()
	return harness.RunTool(s.t, s.cmd(args...))
}

func (s *signingTool) write(name string, content []byte) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), content, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

const sbom = `{"spdxVersion":"SPDX-2.3","name":"app"}`

// signed pushes an image to be signed and returns its digest.
func signed(t testing.TB, b *harness.Berth, repository string) string {
	t.Helper()
	d, err := b.Push(repository, "v1", harness.NewImage("k", repository))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// onlyImage wants nothing of what refers to an image listed as one, or tagged.
func onlyImage(t testing.TB, b *harness.Berth, repository, d string) {
	t.Helper()
	if got := b.ListedDigests(t, repository); !slices.Equal(got, []string{d}) {
		t.Errorf("the images API lists %v, want the image %s alone", got, d)
	}
	if tags, err := b.TagsOf(repository); !slices.Equal(tags, []string{"v1"}) {
		t.Errorf("the tags are %v (%v): not stored as referrers", tags, err)
	}
}

// subjectDeleted deletes an image, and wants what refers to it still there, to
// be read and to be deleted in its turn.
func subjectDeleted(t testing.TB, b *harness.Berth, repository, d string, referrers int) {
	t.Helper()
	b.Must(t, 202, "DELETE", "/v2/"+repository+"/manifests/"+d, nil)
	if got := b.ListedDigests(t, repository); len(got) != 0 {
		t.Errorf("after the image was deleted, %v are listed", got)
	}
	left, _ := b.Referrers(t, repository, d, "")
	if len(left) != referrers {
		t.Errorf("%d referrers are left, want %d", len(left), referrers)
	}
	for _, r := range left {
		b.Must(t, 200, "GET", "/v2/"+repository+"/manifests/"+r.Digest, nil)
		b.Must(t, 202, "DELETE", "/v2/"+repository+"/manifests/"+r.Digest, nil)
	}
	b.Referred(t, repository, d, "")
}

// TestCosign signs with a key, attests, and verifies, all of it offline: no
// transparency log, no time stamps, no trust but in the key.
func TestCosign(t *testing.T) {
	cosign := newSigningTool(t, cosignProgram)
	t.Parallel()
	b := harness.Start(t, harness.WithArgs("--log-level", "warn"))
	const repository = "alice/signed"
	d := signed(t, b, repository)
	image := b.Host + "/" + repository + "@" + d
	cosign.run("generate-key-pair")
	cosign.run("generate-key-pair", "--output-key-prefix", "other")
	cosign.run("signing-config", "create", "--out", "services.json") // none
	cosign.run("trusted-root", "create", "--out", "roots.json")      // none
	cosign.write("sbom.json", []byte(sbom))
	offline := []string{"--trusted-root", "roots.json", "--allow-http-registry"}
	signing := append([]string{"--key", "cosign.key", "--signing-config", "services.json", "--yes"}, offline...)
	verify := func(command, key, image string, more ...string) *exec.Cmd {
		args := append([]string{command, "--key", key, "--insecure-ignore-tlog=true"}, offline...)
		return cosign.cmd(append(append(args, more...), image)...)
	}
	fails := func(cmd *exec.Cmd, what string) {
		t.Helper()
		if out, err := cmd.CombinedOutput(); err == nil {
			t.Errorf("%s is verified:\n%s", what, out)
		}
	}
	fails(verify("verify", "cosign.pub", image), "an image that is not signed")
	cosign.run(append(append([]string{"sign"}, signing...), image)...)
	cosign.run(append(append([]string{"attest", "--type", "spdxjson", "--predicate", "sbom.json"}, signing...), image)...)
	onlyImage(t, b, repository, d)
	list, _ := b.Referrers(t, repository, d, "")
	if len(list) != 2 {
		t.Fatalf("the image has %d referrers, want a signature and an attestation: %+v", len(list), list)
	}
	for _, r := range list {
		if !strings.HasPrefix(r.ArtifactType, "application/vnd.dev.sigstore.bundle") || len(r.Annotations) == 0 {
			t.Errorf("a referrer is %+v", r)
		}
	}

	check := func() {
		t.Helper()
		if out := harness.RunTool(t, verify("verify", "cosign.pub", image)); !strings.Contains(out, d) {
			t.Errorf("verified is %s", out)
		}
		harness.RunTool(t, verify("verify", "cosign.pub", b.Host+"/"+repository+":v1"))
		harness.RunTool(t, verify("verify-attestation", "cosign.pub", image, "--type", "spdxjson"))
		fails(verify("verify", "other.pub", image), "a signature of another key")
		fails(verify("verify-attestation", "other.pub", image, "--type", "spdxjson"), "an attestation of another key")
	}
	check()
	b.Stop()
	harness.RemoveIndex(t, b)
	b.Restart()
	check()
	// A tag that moves to something else is not signed any more.
	if _, err := b.Push(repository, "v1", harness.NewImage("k", "tampered")); err != nil {
		t.Fatal(err)
	}
	fails(verify("verify", "cosign.pub", b.Host+"/"+repository+":v1"), "an image that was put in the place of the signed one")
	harness.RunTool(t, verify("verify", "cosign.pub", image))
	b.Must(t, 202, "DELETE", "/v2/"+repository+"/manifests/v1", nil)
	b.Must(t, 202, "DELETE", "/v2/"+repository+"/manifests/"+harness.Digest(harness.NewImage("k", "tampered").Index), nil)
	subjectDeleted(t, b, repository, d, 2)
}

// TestRegctl puts an artifact that refers to an image, and finds it again.
func TestRegctl(t *testing.T) {
	regctl := newSigningTool(t, regctlProgram)
	t.Parallel()
	b := harness.Start(t, harness.WithArgs("--log-level", "warn"))
	const repository, note = "alice/noted", "application/vnd.example.note"
	d := signed(t, b, repository)
	image := b.Host + "/" + repository + "@" + d
	regctl.write("sbom.json", []byte(sbom))
	regctl.run("registry", "set", "--tls", "disabled", b.Host)
	regctl.run("artifact", "put", "--subject", image, "--artifact-type", note, "-m", "application/json", "-f", "sbom.json", "--annotation", "key=value")
	regctl.run("artifact", "put", "--subject", image, "--artifact-type", "application/vnd.example.other", "-m", "application/json", "-f", "sbom.json")
	onlyImage(t, b, repository, d)

	var list struct{ Descriptors []harness.Referrer }
	out := regctl.run("artifact", "list", image, "--filter-artifact-type", note, "--format", "{{json .}}")
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list.Descriptors) != 1 ||
		list.Descriptors[0].ArtifactType != note || list.Descriptors[0].Annotations["key"] != "value" {
		t.Fatalf("artifact list: %v in %s", err, out)
	}
	all, _ := b.Referrers(t, repository, d, "")
	tree := regctl.run("artifact", "tree", image)
	for _, r := range all {
		if !strings.Contains(tree, r.Digest+": "+r.ArtifactType) {
			t.Errorf("the tree lacks %+v:\n%s", r, tree)
		}
	}
	if len(all) != 2 {
		t.Errorf("the image has %d referrers, want 2", len(all))
	}
	if got := regctl.run("artifact", "get", "--subject", image, "--filter-artifact-type", note); got != sbom {
		t.Errorf("artifact get: %s", got)
	}
	subjectDeleted(t, b, repository, d, 2)
}

// TestORASArtifacts attaches and discovers by the library's own calls.
func TestORASArtifacts(t *testing.T) {
	t.Parallel()
	b := harness.Start(t, harness.WithArgs("--log-level", "warn"))
	const repository, note = "alice/attached", "application/vnd.example.note"
	d := signed(t, b, repository)
	repo := orasRepository(t, b, repository)
	ctx := t.Context()
	subject, err := repo.Resolve(ctx, "v1")
	if err != nil || subject.Digest.String() != d {
		t.Fatalf("the subject is %v (%v)", subject, err)
	}
	layer, err := oras.PushBytes(ctx, repo, "application/json", []byte(sbom))
	if err != nil {
		t.Fatal(err)
	}
	attach := func(artifactType string) v1.Descriptor {
		t.Helper()
		packed, err := oras.PackManifest(ctx, repo, oras.PackManifestVersion1_1, artifactType, oras.PackManifestOptions{
			Subject: &subject, Layers: []v1.Descriptor{layer}, ManifestAnnotations: map[string]string{"key": "value"},
		})
		if err != nil {
			t.Fatal(err)
		}
		return packed
	}
	first, second := attach(note), attach("application/vnd.example.other")
	onlyImage(t, b, repository, d)
	discover := func(artifactType string, want ...v1.Descriptor) {
		t.Helper()
		var got []string
		err := repo.Referrers(ctx, subject, artifactType, func(page []v1.Descriptor) error {
			for _, r := range page {
				got = append(got, r.Digest.String())
			}
			return nil
		})
		all, err2 := registry.Referrers(ctx, repo, subject, artifactType)
		var wanted []string
		for _, w := range want {
			wanted = append(wanted, w.Digest.String())
		}
		slices.Sort(got)
		slices.Sort(wanted)
		if err := errors.Join(err, err2); err != nil || !slices.Equal(got, wanted) || len(all) != len(want) {
			t.Errorf("discovered are %v and %d (%v), want %v", got, len(all), err, wanted)
		}
	}
	discover("", first, second)
	discover(note, first)
	discover("application/vnd.example.none")
	// Another on top of the first: a graph.
	top, err := oras.PackManifest(ctx, repo, oras.PackManifestVersion1_1, note, oras.PackManifestOptions{Subject: &first})
	if err != nil {
		t.Fatal(err)
	}
	above, err := registry.Referrers(ctx, repo, first, "")
	if err != nil || len(above) != 1 || above[0].Digest != top.Digest {
		t.Errorf("above the first is %v (%v)", above, err)
	}
	body, err := content.FetchAll(ctx, repo, layer)
	if err != nil || !bytes.Equal(body, []byte(sbom)) {
		t.Errorf("what was attached is %q (%v)", body, err)
	}
	// The library deletes, and nothing is left to discover.
	if err := errors.Join(repo.Delete(ctx, top), repo.Delete(ctx, second)); err != nil {
		t.Error(err)
	}
	discover("", first)
	subjectDeleted(t, b, repository, d, 1)
}
