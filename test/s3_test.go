package test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// s3Server builds the S3 server that the tests run berth on, once.
var s3Server = sync.OnceValues(func() (string, error) {
	path := filepath.Join(filepath.Dir(binary), "versitygw")
	build := exec.Command("go", "build", "-modfile=.ci/s3.mod", "-o", path, "github.com/versity/versitygw/cmd/versitygw")
	build.Dir = ".."
	out, err := build.CombinedOutput()
	if err != nil {
		err = &buildError{err, string(out)}
	}
	return path, err
})

// s3 is a running S3 server.
type s3 struct {
	// endpoint has a name as its host where berth has an address, since clients
	// treat a redirect to another port of the same host as one within it.
	endpoint, access, secret string

	t    testing.TB
	root string // a folder for each bucket
}

// startS3 runs an S3 server with keys of its own, and ends it with the test.
func startS3(t testing.TB) *s3 {
	t.Helper()
	onlyIfRequired(t, "s3", "an S3 server")
	path, err := s3Server()
	if err != nil {
		t.Fatalf("the S3 server does not build: %v\n%s", err, err.(*buildError).output)
	}
	s := &s3{t: t, access: rand.Text(), secret: rand.Text(), root: t.TempDir()}
	// It cannot choose a port by itself, and another may still take this one first.
	var log *logBuffer
	for range 5 {
		if log = s.run(path); log == nil {
			return s
		}
	}
	t.Fatalf("the S3 server does not start:\n%s", log)
	return nil
}

// run returns what the server said if it did not come up.
func (s *s3) run(path string) *logBuffer {
	s.t.Helper()
	address := freeAddress(s.t)
	log := &logBuffer{}
	server := exec.Command(path, "--port", address, "--quiet", "--keep-alive", "--health", "/healthz", "posix", s.root)
	server.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+s.access, "ROOT_SECRET_KEY="+s.secret)
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	server.Stdout, server.Stderr = log, log
	if err := server.Start(); err != nil {
		s.t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = server.Wait()
		close(exited)
	}()
	s.t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGTERM)
		select {
		case <-exited:
		case <-time.After(10 * time.Second):
			_ = server.Process.Kill()
			<-exited
		}
	})
	health := newRawClient("http://" + address)
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		select {
		case <-exited:
			return log
		default:
		}
		if _, err := health.want(http.StatusOK, http.MethodGet, "/healthz", nil); err == nil {
			s.endpoint = "http://" + strings.Replace(address, "127.0.0.1", "localhost", 1)
			return nil
		}
	}
	return log
}

// bucket makes an empty bucket and returns the settings of a berth on it.
// Blobs are served by berth, unless redirect says that clients get them from
// the bucket themselves.
func (s *s3) bucket(name string, redirect bool) option {
	s.t.Helper()
	if err := os.Mkdir(filepath.Join(s.root, name), 0o700); err != nil {
		s.t.Fatal(err)
	}
	return withEnv("BERTH_STORAGE=s3", "BERTH_STORAGE_S3_REGION=us-east-1", "BERTH_STORAGE_S3_REGIONENDPOINT="+s.endpoint,
		"BERTH_STORAGE_S3_FORCEPATHSTYLE=true", "BERTH_STORAGE_S3_SECURE=false", "BERTH_STORAGE_S3_BUCKET="+name,
		"BERTH_STORAGE_S3_ROOTDIRECTORY=/deep/er", fmt.Sprintf("BERTH_STORAGE_S3_ACCESSKEY=%q", s.access),
		fmt.Sprintf("BERTH_STORAGE_S3_SECRETKEY=%q", s.secret), fmt.Sprintf("BERTH_STORAGE_REDIRECT_DISABLE=%t", !redirect))
}

// wantBlobFrom wants a blob from berth itself, or from where it sends the client.
func wantBlobFrom(t *testing.T, b *Berth, repository string, blob []byte, redirect bool) {
	t.Helper()
	c := newRawClient(b.URL)
	path := "/v2/" + repository + "/blobs/" + rawDigest(blob)
	a, err := c.do(http.MethodGet, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if redirect {
		// Whether it is there, a client that pushes learns without the bucket.
		if head, err := c.do(http.MethodHead, path, nil); err != nil || head.status != http.StatusOK || head.header.Get("Docker-Content-Digest") != rawDigest(blob) {
			t.Errorf("HEAD %s: got %+v, %v", path, head, err)
		}
		if a.status != http.StatusTemporaryRedirect {
			t.Fatalf("GET %s: got %d %s, want a redirect", path, a.status, a.body)
		}
		if a, err = c.do(http.MethodGet, a.header.Get("Location"), nil); err != nil {
			t.Fatal(err)
		}
	}
	if a.status != http.StatusOK || !bytes.Equal(a.body, blob) {
		t.Errorf("GET %s: got %d and %d bytes, want %d", path, a.status, len(a.body), len(blob))
	}
}

// TestS3Images pushes every fixture into a bucket, lists it and pulls it,
// through berth alone and with redirects, then moves tags and deletes.
func TestS3Images(t *testing.T) {
	t.Parallel()
	s := startS3(t)
	for _, redirect := range []bool{false, true} {
		t.Run(fmt.Sprintf("redirect=%t", redirect), func(t *testing.T) {
			b := start(t, s.bucket(fmt.Sprintf("images-%t", redirect), redirect))
			for _, f := range fixtures {
				repository := "alice/" + f.name
				if err := pushGGCR(t, b, f.dir(), f.tag, repository); err != nil {
					t.Fatal(err)
				}
				wantFixture(t, b, f, repository, f.tag)
				name, digest := digestByTag(t, b, repository+":"+f.tag)
				pulled := t.TempDir()
				if err := pullGGCR(t, b, name, digest, pulled); err != nil {
					t.Fatal(err)
				}
				sameBlobs(t, pulled, f.dir())
			}
			config := []byte(`{"os":"linux"}`)
			b.putBlob(t, "bob/app", rawOCIConfig, config)
			wantBlobFrom(t, b, "bob/app", config, redirect)
			t.Run("changes", func(t *testing.T) { s3Changes(t, b) })
			t.Run("skopeo", func(t *testing.T) { s3Skopeo(t, b) })
		})
	}
}

func s3Skopeo(t *testing.T, b *Berth) {
	requireOrSkip(t, "skopeo")
	ctx := testContext(t)
	for _, f := range fixtures {
		if f.lies {
			continue // skopeo wants to correct the sizes, and may not
		}
		image := "docker://" + b.Host + "/skopeo/" + f.name
		runTool(t, skopeo(ctx, "--preserve-digests", "--dest-tls-verify=false", "oci:"+f.dir()+":"+f.tag, image+":"+f.tag))
		wantFixture(t, b, f, "skopeo/"+f.name, f.tag)
		pulled := t.TempDir()
		runTool(t, skopeo(ctx, "--preserve-digests", "--src-tls-verify=false", image+"@"+f.digest, "oci:"+pulled+":pulled"))
		sameBlobs(t, pulled, f.dir())
	}
}

// s3Changes moves tags, one of which begins like another, and deletes by tag,
// by digest and a whole index. Each change must show in the next answer.
func s3Changes(t *testing.T, b *Berth) {
	f := fixtureNamed(t, "kraft-hello")
	repository := "alice/kraft-hello"
	index := b.get(t, "/v2/"+repository+"/manifests/latest", rawOCIIndex)
	remove := func(reference string) {
		b.must(t, http.StatusAccepted, http.MethodDelete, "/v2/"+repository+"/manifests/"+reference, nil)
	}
	for _, tag := range []string{"v1", "v10", "v1.0"} {
		b.putManifest(t, repository, tag, rawOCIIndex, index)
	}
	wantFixture(t, b, f, repository, "latest", "v1", "v1.0", "v10")
	remove("v1")
	wantFixture(t, b, f, repository, "latest", "v1.0", "v10")
	b.must(t, http.StatusNotFound, http.MethodDelete, "/v2/"+repository+"/manifests/v1", nil)

	child := f.platforms[0].Digest
	b.putManifest(t, repository, "latest", rawOCIManifest, b.get(t, "/v2/"+repository+"/manifests/"+child, rawOCIManifest))
	wantFixture(t, b, f, repository, "v1.0", "v10")
	wantFixture(t, b, f.child(), repository, "latest")
	remove(f.digest)
	wantNoImage(t, b, "/v1/images", `{"tag":"`+repository+`:v10"}`)
	wantFixture(t, b, f.child(), repository, "latest")
	remove(child)
	wantNoImage(t, b, "/v1/images", `{"tag":"`+repository+`"}`)

	// An index goes with what only it holds.
	multi := fixtureNamed(t, "kraft-multi")
	b.must(t, http.StatusAccepted, http.MethodDelete, "/v2/alice/kraft-multi/manifests/"+multi.digest, nil)
	for _, gone := range append(multi.platforms, entryPlatform{Digest: multi.digest}) {
		b.must(t, http.StatusNotFound, http.MethodGet, "/v2/alice/kraft-multi/manifests/"+gone.Digest, nil)
	}
}

// TestS3Rebuild deletes the index and wants the same answers from the one that
// is built from the bucket.
func TestS3Rebuild(t *testing.T) {
	t.Parallel()
	b := start(t, startS3(t).bucket("images", false))
	queries := pushAllSorts(t, b)
	before := answers(t, b, queries)
	for _, end := range []func(){b.stop, b.kill} {
		end()
		b.restart()
		sameAnswers(t, "restarted", answers(t, b, queries), before)
		end()
		removeIndex(t, b)
		b.restart()
		sameAnswers(t, "index deleted", answers(t, b, queries), before)
	}
}

// TestS3Killed kills berth in the middle of pushes and deletions. The bucket
// lives on, with whatever had come that far.
func TestS3Killed(t *testing.T) {
	t.Parallel()
	seed := mathrand.Uint64()
	t.Logf("seed %d", seed)
	rnd := mathrand.New(mathrand.NewPCG(seed, 0))
	b := start(t, startS3(t).bucket("images", false), withArgs("--log-level", "warn"))
	crew := newRawCrew(b, seed)
	for round := range 5 {
		wait := crew.work(t)
		time.Sleep(500*time.Millisecond + time.Duration(rnd.IntN(1500))*time.Millisecond)
		b.kill()
		wait()
		crew.c.http.CloseIdleConnections()
		b.restart()
		crew.verify(t)
		if t.Failed() {
			t.Fatalf("in round %d\n%s", round, b.log)
		}
	}
	crew.pullBlobs(t, map[string]bool{})
	t.Logf("%d steps", crew.steps)
	compareRebuilt(t, b)
}

// TestS3UploadAcrossRestart finishes uploads that were begun before. Parts of
// less than 5 MiB are kept in another way than larger ones.
func TestS3UploadAcrossRestart(t *testing.T) {
	t.Parallel()
	b := start(t, startS3(t).bucket("images", false))
	for _, size := range []int{10, 6 << 20} {
		for _, end := range []func(){b.stop, b.kill} {
			first, second := bytes.Repeat([]byte("first"), size/5), []byte("second")
			whole := slices.Concat(first, second)
			location := b.begin(t, "alice/app")
			location = b.location(t, b.must(t, http.StatusAccepted, http.MethodPatch, location.String(), bytes.NewReader(first), "Content-Type", "application/octet-stream"))
			end()
			b.restart()
			digest := rawDigest(whole)
			b.must(t, http.StatusCreated, http.MethodPut, withDigest(location, digest), bytes.NewReader(second), "Content-Type", "application/octet-stream")
			if got := b.get(t, "/v2/alice/app/blobs/"+digest, ""); !bytes.Equal(got, whole) {
				t.Errorf("the upload gave %d bytes, want %d", len(got), len(whole))
			}
			b.must(t, http.StatusAccepted, http.MethodDelete, "/v2/alice/app/blobs/"+digest, nil)
		}
	}
}

// TestS3Conformance runs the specification's suite against berth on a bucket,
// open and with accounts.
func TestS3Conformance(t *testing.T) {
	t.Parallel()
	s := startS3(t)
	for _, c := range []struct {
		name, version string
		atLeast       int
		closed        bool
	}{
		{"v1-open", "1.1", 840, false},
		{"v1-accounts", "1.1", 840, true},
		{"dev-open", "dev", 1000, false},
		{"dev-accounts", "dev", 1000, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			options := []option{s.bucket(c.name, false)}
			var settings []string
			if c.version == "dev" {
				options = append(options, withEnv("BERTH_REGISTRY_MISSING_LAYERS=true"))
				settings = everything
			}
			b := start(t, options...)
			if c.closed {
				settings = append([]string{"OCI_USERNAME=conformance", "OCI_PASSWORD=" + accountsAdd(t, b, "conformance").Secret}, settings...)
			}
			conformance(t, b, c.version, c.atLeast, settings...)
		})
	}
	// The bytes then come from the bucket, without the digest that some clients
	// want in their headers, and with the server's own view of wrong ranges.
	t.Run("redirects", func(t *testing.T) {
		b := start(t, s.bucket("redirects", true))
		r := runSuite(t, b, "1.1", "OCI_USERNAME=conformance", "OCI_PASSWORD="+accountsAdd(t, b, "conformance").Secret)
		ranges := bytes.Count(r.output, []byte("/range 500-0: Skip"))
		if r.Tests < 840 || r.Errors+r.Failures > 0 || r.Skipped > ranges {
			t.Errorf("%s, of which %d are ranges that end before they begin\n%s", r, ranges, r.output)
		}
	})
}

// TestNamesFromStorage deletes the index: other digests than sha256, tags that
// were set as parameters and referrers are all in storage, on the filesystem
// and in a bucket.
func TestNamesFromStorage(t *testing.T) {
	t.Parallel()
	t.Run("filesystem", func(t *testing.T) { namesFromStorage(t, start(t)) })
	t.Run("s3", func(t *testing.T) { namesFromStorage(t, start(t, startS3(t).bucket("images", false))) })
}

func namesFromStorage(t *testing.T, b *Berth) {
	c := newRawClient(b.URL)
	must := func(_ *rawAnswer, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	const repository, base = "alice/app", "/v2/alice/app/"
	long := func(content []byte) string { return digest.SHA512.FromBytes(content).String() }
	image := newRawImage("k", "names")
	pushed, err := c.push(repository, "latest", image)
	if err != nil {
		t.Fatal(err)
	}
	// A blob and an image under sha512 alone, with three tags as parameters.
	config := []byte(`{"os":"linux"}`)
	if err := c.pushBlobFrom(repository, long(config), config); err != nil {
		t.Fatal(err)
	}
	described := rawDescriptor{MediaType: rawOCIConfig, Digest: long(config), Size: int64(len(config))}
	manifest := rawManifestOf(described)
	must(c.want(http.StatusCreated, http.MethodPut, base+"manifests/"+long(manifest)+"?tag=c&tag=a&tag=b", manifest, "Content-Type", rawOCIManifest))
	must(c.want(http.StatusCreated, http.MethodPut, base+"manifests/moved", manifest, "Content-Type", rawOCIManifest))
	must(c.want(http.StatusAccepted, http.MethodDelete, base+"manifests/b", nil))
	// Referrers, by either digest, to what is there and to what is not.
	absent := digest.FromString("absent").String()
	refer := func(subject, artifactType string) []byte {
		return rawJSON(map[string]any{
			"schemaVersion": 2, "mediaType": rawOCIManifest, "artifactType": artifactType, "config": described, "layers": []any{},
			"subject": rawDescriptor{MediaType: rawOCIManifest, Digest: subject, Size: 1}, "annotations": map[string]string{"a": "b"},
		})
	}
	subjects := []string{pushed, long(manifest), rawDigest(manifest), absent}
	for i, subject := range subjects {
		referrer := refer(subject, "application/vnd.example.sbom")
		must(c.want(http.StatusCreated, http.MethodPut, base+"manifests/"+rawDigest(referrer), referrer, "Content-Type", rawOCIManifest))
		referrer = refer(subject, fmt.Sprintf("application/vnd.example.signature%d", i))
		must(c.want(http.StatusCreated, http.MethodPut, base+"manifests/"+long(referrer)+"?tag=signature", referrer, "Content-Type", rawOCIManifest))
	}

	paths := []string{"/v2/_catalog", base + "tags/list", "/v1/images", base + "blobs/" + long(config), base + "blobs/" + rawDigest(config)}
	for _, reference := range []string{"latest", "a", "b", "c", "moved", "signature", long(manifest), rawDigest(manifest), pushed} {
		paths = append(paths, base+"manifests/"+reference)
	}
	for _, subject := range subjects {
		paths = append(paths, base+"referrers/"+subject, base+"referrers/"+subject+"?artifactType=application/vnd.example.sbom")
	}
	ask := func() map[string]string {
		c.http.CloseIdleConnections()
		said := map[string]string{}
		for _, path := range paths {
			a, err := c.do(http.MethodGet, path, nil, "X-Request-Id", "the-same")
			if err != nil {
				t.Fatal(err)
			}
			said[path] = fmt.Sprintf("%d %s %s %s", a.status, a.header.Get("Docker-Content-Digest"), a.header.Get("OCI-Filters-Applied"),
				timeTaken.ReplaceAll(a.body, nil))
		}
		return said
	}
	before := ask()
	for path, want := range map[string][]string{
		base + "tags/list":                   {`"tags":["a","c","latest","moved","signature"]`},
		base + "manifests/a":                 {"200 " + long(manifest)},
		base + "manifests/b":                 {"404 "},
		base + "manifests/moved":             {"200 " + rawDigest(manifest)},
		base + "manifests/" + long(manifest): {"200 " + long(manifest)},
		base + "blobs/" + long(config):       {"200 " + long(config)},
		base + "referrers/" + pushed:         {"200 ", "vnd.example.sbom", "vnd.example.signature0"},
		base + "referrers/" + long(manifest): {"200 ", "vnd.example.sbom", "vnd.example.signature1"},
		base + "referrers/" + subjects[2]:    {"200 ", "vnd.example.sbom", "vnd.example.signature2"},
		base + "referrers/" + absent:         {"200 ", "vnd.example.sbom", "vnd.example.signature3"},
	} {
		for _, part := range want {
			if !strings.Contains(before[path], part) {
				t.Errorf("%s: got %s, want it with %s", path, before[path], part)
			}
		}
	}
	for _, end := range []func(){b.stop, b.kill} {
		end()
		removeIndex(t, b)
		b.restart()
		sameAnswers(t, "index deleted", ask(), before)
	}
}

var s3Example = regexp.MustCompile("(?ms)^```yaml\n(storage:\n  s3:\n.*?)^```\n")

// TestS3Readme starts berth with README's example. Only the address, the bucket
// and the keys are others.
func TestS3Readme(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile(filepath.Join("..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	example := s3Example.FindSubmatch(readme)
	if example == nil {
		t.Fatal("README has no example of S3 storage")
	}
	s := startS3(t)
	if err := os.Mkdir(filepath.Join(s.root, "images"), 0o700); err != nil {
		t.Fatal(err)
	}
	text := string(example[1])
	for name, value := range map[string]string{"regionendpoint": s.endpoint, "accesskey": s.access, "secretkey": s.secret} {
		line := regexp.MustCompile(`(?m)^(    ` + name + `: )[^ \n]+`)
		if !line.MatchString(text) {
			t.Fatalf("the example has no %s:\n%s", name, text)
		}
		text = line.ReplaceAllString(text, "${1}"+fmt.Sprintf("%q", value))
	}
	file := filepath.Join(t.TempDir(), "berth.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b := start(t, withArgs("--config", file))
	f := fixtureNamed(t, "kraft-hello")
	if err := pushGGCR(t, b, f.dir(), f.tag, "alice/hello"); err != nil {
		t.Fatal(err)
	}
	wantFixture(t, b, f, "alice/hello", f.tag)
	stored, err := os.ReadDir(filepath.Join(s.root, "images"))
	if err != nil || !slices.ContainsFunc(stored, func(e os.DirEntry) bool { return e.Name() == "docker" }) {
		t.Errorf("the bucket holds %v, %v", stored, err)
	}
	if _, err := os.Stat(filepath.Join(b.Data, "storage")); err == nil {
		t.Error("berth has made a folder for the storage that it does not use")
	}
}
