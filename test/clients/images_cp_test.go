package clients

import (
	"bytes"
	"crypto/rand"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// faulty is a registry that passes on what berth answers, unless wrong answers
// itself. It returns its host.
func faulty(t *testing.T, b *harness.Berth, wrong func(w http.ResponseWriter, r *http.Request) bool) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if wrong(w, r) {
			return
		}
		status, header, body := asked(t, b, r)
		for name, values := range header {
			w.Header()[name] = values
		}
		w.WriteHeader(status)
		_, _ = w.Write(body)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// asked asks berth what somebody has asked.
func asked(t *testing.T, b *harness.Berth, r *http.Request) (int, http.Header, []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(r.Context(), r.Method, b.URL+r.URL.RequestURI(), nil)
	if err != nil {
		t.Error(err)
		return http.StatusInternalServerError, nil, nil
	}
	for _, name := range []string{"Accept", "Range"} {
		if value := r.Header.Get(name); value != "" {
			request.Header.Set(name, value)
		}
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Error(err)
		return http.StatusInternalServerError, nil, nil
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Error(err)
	}
	return answer.StatusCode, answer.Header, body
}

// large is an image with a kernel that is not sent in one piece.
func large(t *testing.T, salt string) (harness.Image, string) {
	t.Helper()
	image := harness.NewImage("large", salt)
	kernel := make([]byte, 4<<20)
	_, _ = rand.Read(kernel)
	manifest := harness.ManifestOf(harness.Describe(harness.OCIConfig, image.Blobs[2]),
		harness.Describe(harness.OCILayer, kernel).Marked("org.unikraft.kernel.image", "/unikraft/bin/kernel"),
		harness.Describe(harness.OCILayer, image.Blobs[1]).Marked("org.unikraft.kernel.initrd", "/unikraft/bin/initrd"))
	child := harness.Describe(harness.OCIManifest, manifest)
	child.Platform = map[string]any{"os": "kraftcloud", "architecture": "x86_64"}
	return harness.Image{Blobs: [][]byte{kernel, image.Blobs[1], image.Blobs[2]}, Manifest: manifest, Index: harness.IndexOf(child)}, harness.Digest(kernel)
}

// half sends half of a blob, and breaks off.
func half(t *testing.T, b *harness.Berth, w http.ResponseWriter, r *http.Request, ranges bool) {
	status, header, body := asked(t, b, r)
	for name, values := range header {
		w.Header()[name] = values
	}
	if !ranges {
		w.Header().Del("Accept-Ranges")
	}
	w.WriteHeader(status)
	_, _ = w.Write(body[:len(body)/2])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// TestImagesCopyGoesOn: a source that breaks off in the middle is asked for the
// rest, and if it does not send that, the next copy sends only what is missing.
func TestImagesCopyGoesOn(t *testing.T) {
	t.Parallel()
	from, to := harness.Start(t), harness.Start(t)
	image, kernel := large(t, "goes on")
	digest := from.PutImage(t, "alice/app", "v1", image)
	isKernel := func(r *http.Request) bool {
		return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/blobs/"+kernel)
	}
	for _, target := range []string{to.Host + "/alice/once:v1", "oci:" + filepath.Join(t.TempDir(), "once") + ":v1"} {
		var whole, rest atomic.Int64
		source := faulty(t, from, func(w http.ResponseWriter, r *http.Request) bool {
			switch {
			case !isKernel(r):
			case r.Header.Get("Range") != "":
				rest.Add(1)
			case whole.Add(1) == 1:
				half(t, from, w, r, true)
			}
			return false
		})
		wantImages(t, nil, done, digest+"\n", "cp", source+"/alice/app:v1", target)
		if whole.Load() != 1 || rest.Load() != 1 {
			t.Errorf("%s: the blob was asked for %d times from its beginning and %d times from where it broke off", target, whole.Load(), rest.Load())
		}
	}
	to.Must(t, http.StatusOK, http.MethodGet, "/v2/alice/once/blobs/"+kernel, nil)

	for _, target := range []string{to.Host + "/bob/app:v1", "oci:" + filepath.Join(t.TempDir(), "app") + ":v1"} {
		source := faulty(t, from, func(w http.ResponseWriter, r *http.Request) bool {
			if isKernel(r) {
				half(t, from, w, r, false)
			}
			return false
		})
		wantImages(t, nil, unavailable, "broke off after", "cp", source+"/alice/app:v1", target, "--jobs", "1")
		// Nobody sees half of it.
		if strings.HasPrefix(target, "oci:") {
			wantImages(t, nil, notFound, "is not there", "cp", target, to.Host+"/half/app")
		} else {
			to.Must(t, http.StatusNotFound, http.MethodGet, "/v2/bob/app/manifests/v1", nil)
			harness.WantNoImage(t, to, "/v1/images", `{"tag":"bob/app:v1"}`)
		}
		out := wantImages(t, nil, done, digest+"\n", "cp", from.Host+"/alice/app:v1", target)
		if strings.Contains(out, " 0 there already") || strings.Contains(out, "5 parts copied") {
			t.Errorf("what was there is copied again: %s", out)
		}
		wantImages(t, nil, done, "0 parts copied", "cp", from.Host+"/alice/app:v1", target)
	}
	if got := to.Get(t, "/v2/bob/app/blobs/"+kernel, ""); !bytes.Equal(got, image.Blobs[0]) {
		t.Error("the blob is another one")
	}
}

// TestImagesCopyKilled goes on after the command itself was ended in the middle.
func TestImagesCopyKilled(t *testing.T) {
	t.Parallel()
	from, to := harness.Start(t), harness.Start(t)
	image, kernel := large(t, "killed")
	digest := from.PutImage(t, "alice/app", "v1", image)
	begun, end := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(end) })
	source := faulty(t, from, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/blobs/"+kernel) {
			return false
		}
		_, header, body := asked(t, from, r)
		for name, values := range header {
			w.Header()[name] = values
		}
		_, _ = w.Write(body[:1<<20])
		_ = http.NewResponseController(w).Flush()
		select {
		case begun <- struct{}{}:
		case <-end:
		}
		<-r.Context().Done()
		return true
	})
	harness.CommandKilled(t, nil, begun, "images", "cp", source+"/alice/app:v1", to.Host+"/alice/app:v1")
	to.Must(t, http.StatusNotFound, http.MethodGet, "/v2/alice/app/manifests/v1", nil)
	wantImages(t, nil, done, digest+"\n", "cp", from.Host+"/alice/app:v1", to.Host+"/alice/app:v1")
	if got := to.Get(t, "/v2/alice/app/blobs/"+kernel, ""); !bytes.Equal(got, image.Blobs[0]) {
		t.Error("the blob is another one")
	}
}

// TestImagesCopyRefuses: bytes that do not have their digest are not passed on,
// whatever the registry says of them.
func TestImagesCopyRefuses(t *testing.T) {
	t.Parallel()
	from, to := harness.Start(t), harness.Start(t)
	image, kernel := large(t, "refuses")
	from.PutImage(t, "alice/app", "v1", image)
	child := harness.Digest(image.Manifest)
	for name, test := range map[string]struct {
		of   string
		with func(body []byte) []byte
		// gone is a header that is left away.
		gone string
	}{
		"a flipped bit":         {"/blobs/" + kernel, func(b []byte) []byte { b[len(b)-1] ^= 1; return b }, ""},
		"a flipped bit, early":  {"/blobs/" + kernel, func(b []byte) []byte { b[0] ^= 1; return b }, "Docker-Content-Digest"},
		"too short":             {"/blobs/" + kernel, func(b []byte) []byte { return b[:len(b)-1] }, "Docker-Content-Digest"},
		"too long":              {"/blobs/" + kernel, func(b []byte) []byte { return append(b, 'x') }, "Docker-Content-Digest"},
		"another manifest":      {"/manifests/" + child, func([]byte) []byte { return harness.NewImage("other", "manifest").Manifest }, "Docker-Content-Digest"},
		"a manifest, same size": {"/manifests/" + child, func(b []byte) []byte { return bytes.Replace(b, []byte("initrd"), []byte("initre"), 1) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			source := faulty(t, from, func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, test.of) {
					return false
				}
				_, header, body := asked(t, from, r)
				for name, values := range header {
					w.Header()[name] = values
				}
				w.Header().Del("Content-Length")
				if test.gone != "" {
					w.Header().Del(test.gone)
				}
				_, _ = w.Write(test.with(body))
				return true
			})
			folder, repository := filepath.Join(t.TempDir(), "layout"), "alice/"+harness.Digest([]byte(name))[7:20]
			for _, target := range []string{to.Host + "/" + repository + ":v1", "oci:" + folder + ":v1"} {
				stdout, stderr, code := images(t, nil, "cp", source+"/alice/app:v1", target)
				if code != wrongContent && !(name == "too short" && code == unavailable) || stdout != "" {
					t.Errorf("%s: exited with %d and said %s%s", target, code, stdout, stderr)
				}
			}
			to.Must(t, http.StatusNotFound, http.MethodGet, "/v2/"+repository+"/manifests/v1", nil)
			if strings.Contains(test.of, "blobs") {
				to.Must(t, http.StatusNotFound, http.MethodGet, "/v2/"+repository+test.of, nil)
				if _, err := os.Stat(filepath.Join(folder, "blobs", "sha256", strings.TrimPrefix(kernel, "sha256:"))); err == nil {
					t.Error("the blob is in the layout")
				}
			}
		})
	}
}

// TestImagesHints shows what some clients cannot do with images, and copies them
// all the same where that can be.
func TestImagesHints(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	image := harness.NewImage("hints", "sizes")
	for _, blob := range image.Blobs {
		b.PutBlob(t, "alice/app", "", blob)
	}
	b.PutManifest(t, "alice/app", harness.Digest(image.Manifest), harness.OCIManifest, image.Manifest)
	// As kraft writes what was there when it adds a manifest to an index.
	lies := harness.Describe(harness.OCIManifest, image.Manifest)
	lies.Size, lies.Platform = 32, map[string]any{"os": "kraftcloud", "architecture": "x86_64"}
	digest := b.PutManifest(t, "alice/app", "merged", harness.OCIIndex, harness.IndexOf(lies))
	wantImages(t, nil, done, "hint: the index says that "+lies.Digest+" has 32 bytes, and it has ", "show", b.Host+"/alice/app:merged")
	wantImages(t, nil, done, digest, "cp", b.Host+"/alice/app:merged", b.Host+"/bob/app:merged")
	folder := t.TempDir()
	wantImages(t, nil, done, digest, "cp", b.Host+"/alice/app:merged", "oci:"+folder)
	wantImages(t, nil, done, digest, "cp", "oci:"+folder, b.Host+"/carol/app")
	wantImages(t, nil, done, "5 parts copied", "cp", "oci:"+folder+":merged", "oci:"+t.TempDir()+":again")
	multi := harness.FixtureNamed(t, "kraft-multi") // such a one
	wantImages(t, nil, done, multi.Digest, "cp", "oci:"+multi.Dir(), b.Host+"/alice/multi:v1")
	wantImages(t, nil, done, multi.Digest, "cp", b.Host+"/alice/multi:v1", "oci:"+folder)
	wantImages(t, nil, usage, "there are 2 images", "cp", "oci:"+folder, b.Host+"/alice/which")
	harness.WantFixture(t, b, multi, "alice/multi", "v1")

	layer := gzipped(t, tarOf(t, "unikraft/bin/kernel", "kernel"))
	config := []byte(`{"architecture":"x86_64","os":"kraftcloud","config":{"Cmd":["/app"]}}`)
	b.PutManifest(t, "alice/zipped", "v1", harness.OCIManifest, harness.ManifestOf(
		b.PutBlob(t, "alice/zipped", harness.OCIConfig, config), b.PutBlob(t, "alice/zipped", harness.TarLayer+"+gzip", layer)))
	wantImages(t, nil, done, "hint: the layer "+harness.Digest(layer)+" is compressed: the unikraft CLI's image library reads uncompressed ones only", "show", b.Host+"/alice/zipped:v1")

	// An ordinary container has none of these: it is for others.
	rootfs := gzipped(t, tarOf(t, "bin/sh", "#!", "etc/passwd", "root:x:0:0"))
	b.PutManifest(t, "alice/box", "v1", harness.OCIManifest, harness.ManifestOf(
		b.PutBlob(t, "alice/box", harness.OCIConfig, config), b.PutBlob(t, "alice/box", harness.TarLayer+"+gzip", rootfs)))
	if out := wantImages(t, nil, done, "unikernel  no: it has no kernel, initrd or ROM", "show", b.Host+"/alice/box:v1"); strings.Contains(out, "hint") {
		t.Errorf("got %s", out)
	}
	missing := harness.Describe(harness.OCIManifest, []byte("{}"))
	b.PutManifest(t, "alice/app", "half", harness.OCIIndex, harness.IndexOf(harness.Describe(harness.OCIManifest, image.Manifest), missing))
	wantImages(t, nil, done, "hint: "+missing.Digest+" is not stored", "show", b.Host+"/alice/app:half")
}
