package test

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestRebuild deletes the index and wants the same answers from the one that
// berth builds from storage, byte for byte, after an orderly stop and a crash.
func TestRebuild(t *testing.T) {
	t.Parallel()
	b := start(t)
	queries := pushAllSorts(t, b)
	before := answers(t, b, queries)

	for _, end := range []struct {
		name string
		how  func()
	}{
		{"stopped", b.stop}, {"killed", b.kill},
	} {
		end.how()
		removeIndex(t, b)
		b.restart()
		sameAnswers(t, end.name+", index deleted", answers(t, b, queries), before)
		if !strings.Contains(b.log.String(), "index built from storage") {
			t.Errorf("%s: the log does not say that the index was built:\n%s", end.name, b.log)
		}
	}
	// With its index, it does not build it, and answers the same.
	b.stop()
	b.restart()
	sameAnswers(t, "stopped", answers(t, b, queries), before)
	if strings.Contains(b.log.String(), "index built from storage") {
		t.Error("an index that was there was built again")
	}
	b.kill()
	b.restart()
	sameAnswers(t, "killed", answers(t, b, queries), before)
}

func removeIndex(t *testing.T, b *Berth) {
	t.Helper()
	if err := os.Remove(filepath.Join(b.Data, "catalog.db")); err != nil {
		t.Fatal(err)
	}
}

// pushAllSorts pushes every fixture, images with several tags and with none,
// children with and without a tag of their own, what was deleted again, and
// what is no image. It returns queries that show all of it.
func pushAllSorts(t *testing.T, b *Berth) (queries [][2]string) {
	t.Helper()
	ask := func(query, body string) {
		for _, path := range []string{"/v1/images/list", "/v1/images"} {
			queries = append(queries, [2]string{path + query, body})
		}
	}
	for _, f := range fixtures {
		for _, repository := range []string{"alice/" + f.name, "official/" + f.name} {
			if err := pushGGCR(t, b, f.dir(), f.tag, repository); err != nil {
				t.Fatal(err)
			}
			ask("", `{"tag":"`+repository+":"+f.tag+`"}`)
			ask("?uuid="+uuidOf(repository, f.digest), "")
			for _, p := range f.platforms {
				ask("", `{"digest":"`+repository+"@"+p.Digest+`"}`)
			}
		}
		ask("", `{"digest":"`+f.digest+`"}`)
	}
	retag := func(repository, ref, tag string) {
		accept := "application/vnd.oci.image.index.v1+json"
		if ref != "latest" && ref != "v2" {
			accept = "application/vnd.oci.image.manifest.v1+json"
		}
		b.putManifest(t, repository, tag, accept, b.get(t, "/v2/"+repository+"/manifests/"+ref, accept))
	}
	remove := func(repository, ref string) {
		b.must(t, http.StatusAccepted, http.MethodDelete, "/v2/"+repository+"/manifests/"+ref, nil)
	}
	retag("alice/kraft-hello", "latest", "stable")
	retag("alice/kraft-hello", "latest", "v1")
	retag("alice/kraft-multi", fixtureNamed(t, "kraft-multi").platforms[2].Digest, "arm64")
	remove("official/unikraft-rom", "latest")
	remove("official/kraft-multi", fixtureNamed(t, "kraft-multi").digest)
	pushSmall(t, b, "bob/app", "untagged", "2026-03-01T00:00:00Z")
	pushSmall(t, b, "bob/app", "one", "2026-03-02T00:00:00Z", "v1")
	pushSmall(t, b, "bob/app", "two", "2026-03-03T00:00:00Z", "v1", "latest")
	// Without a time of its own, an image has that of its manifest's bytes.
	pushSmall(t, b, "bob/app", "timeless", "", "timeless")
	pushed := pushSmall(t, b, "bob/gone", "gone", "2026-03-03T00:00:00Z", "latest")
	remove("bob/gone", pushed.digest)
	blob := b.putBlob(t, "bob/container", "application/vnd.oci.image.config.v1+json", []byte(`{"os":"linux"}`))
	b.putManifest(t, "bob/container", "latest", "application/vnd.oci.image.manifest.v1+json",
		fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[]}`,
			blob.MediaType, blob.Digest, blob.Size))

	for _, query := range []string{
		"", "?tagged", "?order=asc", "?order=desc", "?order=desc&count=5", "?count=7",
		"?namespace=alice", "?namespace=official", "?namespace=bob", "?namespace=bob/app&order=desc",
	} {
		ask(query, "")
	}
	ask("", `[{"tag":"bob/app"},{"tag":"bob/app:timeless"},{"tag":"bob/gone"},{"tag":"bob/container"}]`)
	ask("", `{"digest":"`+pushed.digest+`"}`)
	return queries
}

var timeTaken = regexp.MustCompile(`"op_time_us":\d+`)

// answers is what the API says, less the time that it took.
func answers(t *testing.T, b *Berth, queries [][2]string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, q := range queries {
		a := sendAPI(t, b, http.MethodGet, q[0], q[1], "X-Request-Id", "the-same") // it is in the messages
		all[q[0]+" "+q[1]] = fmt.Sprintf("%d %s", a.code, timeTaken.ReplaceAll(a.raw, []byte(`"op_time_us":0`)))
	}
	return all
}

func sameAnswers(t *testing.T, when string, got, want map[string]string) {
	t.Helper()
	for _, query := range slices.Sorted(maps.Keys(want)) {
		if got[query] != want[query] {
			t.Errorf("%s: %s: got\n\t%s\nwant\n\t%s", when, query, got[query], want[query])
		}
	}
}

// TestUploadAcrossRestart finishes an upload that was begun before.
func TestUploadAcrossRestart(t *testing.T) {
	t.Parallel()
	b := start(t)
	first, second := bytes.Repeat([]byte("first"), 1000), bytes.Repeat([]byte("second"), 1000)
	whole := slices.Concat(first, second)
	digest := rawDigest(whole)
	for i, end := range []func(){b.stop, b.kill} {
		repository := fmt.Sprintf("alice/app%d", i)
		location := b.begin(t, repository)
		response := b.must(t, http.StatusAccepted, http.MethodPatch, location.String(), bytes.NewReader(first), "Content-Type", "application/octet-stream")
		location = b.location(t, response)
		end()
		b.restart()
		b.must(t, http.StatusCreated, http.MethodPut, withDigest(location, digest), bytes.NewReader(second), "Content-Type", "application/octet-stream")
		if got := b.get(t, "/v2/"+repository+"/blobs/"+digest, ""); !bytes.Equal(got, whole) {
			t.Errorf("the upload gave %d bytes, want %d", len(got), len(whole))
		}
	}
	secret, err := os.Stat(filepath.Join(b.Data, "upload.secret"))
	if err != nil || secret.Mode().Perm() != 0o600 {
		t.Errorf("the secret of uploads is not private: %v, %v", secret.Mode(), err)
	}
}

// TestDrain stops berth while an upload is on its way: that one finishes, and
// no other begins.
func TestDrain(t *testing.T) {
	t.Parallel()
	b := start(t)
	content := bytes.Repeat([]byte("slow"), 50000)
	digest := rawDigest(content)
	location := withDigest(b.begin(t, "alice/app"), digest)
	writer, result := slowUpload(t, http.MethodPut, location, len(content))
	if _, err := writer.Write(content[:1000]); err != nil {
		t.Fatal(err)
	}
	if err := b.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "berth still takes connections", func() bool {
		fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
		response, err := fresh.Get(b.URL + "/healthz")
		if err == nil {
			_ = response.Body.Close()
		}
		return err != nil
	})
	select {
	case <-b.exited:
		t.Fatalf("berth ended with an upload on its way:\n%s", b.log)
	case <-time.After(300 * time.Millisecond):
	}
	if _, err := writer.Write(content[1000:]); err != nil {
		t.Fatal(err)
	}
	_ = writer.Close()
	if err := <-result; err != nil {
		t.Errorf("the upload did not finish: %v", err)
	}
	select {
	case <-b.exited:
	case <-time.After(time.Minute):
		t.Fatal("berth did not stop after the last request")
	}
	if code := b.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("berth exited with %d:\n%s", code, b.log)
	}
	b.restart()
	if got := b.get(t, "/v2/alice/app/blobs/"+digest, ""); !bytes.Equal(got, content) {
		t.Errorf("the upload gave %d bytes, want %d", len(got), len(content))
	}
}

// slowUpload begins a request, and returns when berth reads its body, which is
// what the test then writes. The result is an error, or nil for 201.
func slowUpload(t *testing.T, method, location string, length int) (*io.PipeWriter, <-chan error) {
	t.Helper()
	reading := make(chan struct{})
	body, writer := io.Pipe()
	ctx := httptrace.WithClientTrace(testContext(t), &httptrace.ClientTrace{Got100Continue: func() { close(reading) }})
	r, err := http.NewRequestWithContext(ctx, method, location, body)
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = int64(length)
	// berth asks for the body when it begins to read it.
	r.Header.Set("Expect", "100-continue")
	result := make(chan error, 1)
	go func() {
		own := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute}}
		response, err := own.Do(r)
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode != http.StatusCreated {
				err = fmt.Errorf("got %s", response.Status)
			}
		}
		result <- err
	}()
	select {
	case <-reading:
	case err := <-result:
		t.Fatalf("the upload ended early: %v", err)
	case <-time.After(30 * time.Second):
		t.Fatal("berth does not read the upload")
	}
	return writer, result
}

// eventually waits until something holds, for as long as that may take.
func eventually(t testing.TB, otherwise string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(otherwise)
		}
	}
}

// TestDrainLimit cuts off a request that takes longer than it may.
func TestDrainLimit(t *testing.T) {
	t.Parallel()
	b := start(t, withEnv("BERTH_HTTP_TIMEOUTS_SHUTDOWN=200ms"))
	writer, result := slowUpload(t, http.MethodPatch, b.begin(t, "alice/app").String(), 10)
	b.stop() // with 0, or the test fails
	_ = writer.Close()
	if err := <-result; err == nil || strings.HasPrefix(err.Error(), "got ") {
		t.Errorf("the upload was answered: %v", err)
	}
	if !strings.Contains(b.log.String(), "cut off") {
		t.Errorf("the log does not say that a request was cut off:\n%s", b.log)
	}
}

// TestInMemory keeps nothing: it starts empty again.
func TestInMemory(t *testing.T) {
	t.Parallel()
	b := start(t, withEnv("BERTH_STORAGE=inmemory"))
	f := fixtureNamed(t, "unikraft-rom")
	if err := pushGGCR(t, b, f.dir(), f.tag, "alice/rom"); err != nil {
		t.Fatal(err)
	}
	wantFixture(t, b, f, "alice/rom", f.tag)
	pulled := t.TempDir()
	if err := pullGGCR(t, b, "alice/rom", f.digest, pulled); err != nil {
		t.Fatal(err)
	}
	sameBlobs(t, pulled, f.dir())

	for _, end := range []func(){b.stop, b.kill} {
		end()
		b.restart()
		wantAll(t, b)
		wantNoImage(t, b, "/v1/images", `{"tag":"alice/rom"}`)
		b.must(t, http.StatusNotFound, http.MethodGet, "/v2/alice/rom/manifests/latest", nil)
		if err := pushGGCR(t, b, f.dir(), f.tag, "alice/rom"); err != nil {
			t.Fatal(err)
		}
		wantAll(t, b, f.v1("alice/rom", f.tag))
	}
}
