package faults

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
)

// TestRebuild deletes the index and wants the same answers from the one that
// berth builds from storage, byte for byte, after an orderly stop and a crash.
func TestRebuild(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	queries := harness.PushAllSorts(t, b)
	before := harness.Answers(t, b, queries)

	for _, end := range []struct {
		name string
		how  func()
	}{
		{"stopped", b.Stop}, {"killed", b.Kill},
	} {
		end.how()
		harness.RemoveIndex(t, b)
		b.Restart()
		harness.SameAnswers(t, end.name+", index deleted", harness.Answers(t, b, queries), before)
		if !strings.Contains(b.Log.String(), "index built from storage") {
			t.Errorf("%s: the log does not say that the index was built:\n%s", end.name, b.Log)
		}
	}
	// With its index, it does not build it, and answers the same.
	b.Stop()
	b.Restart()
	harness.SameAnswers(t, "stopped", harness.Answers(t, b, queries), before)
	if strings.Contains(b.Log.String(), "index built from storage") {
		t.Error("an index that was there was built again")
	}
	b.Kill()
	b.Restart()
	harness.SameAnswers(t, "killed", harness.Answers(t, b, queries), before)
}

// TestUploadAcrossRestart finishes an upload that was begun before.
func TestUploadAcrossRestart(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	first, second := bytes.Repeat([]byte("first"), 1000), bytes.Repeat([]byte("second"), 1000)
	whole := slices.Concat(first, second)
	digest := harness.Digest(whole)
	for i, end := range []func(){b.Stop, b.Kill} {
		repository := fmt.Sprintf("alice/app%d", i)
		location := b.Begin(t, repository)
		response := b.Must(t, http.StatusAccepted, http.MethodPatch, location.String(), bytes.NewReader(first), "Content-Type", "application/octet-stream")
		location = b.Location(t, response)
		end()
		b.Restart()
		b.Must(t, http.StatusCreated, http.MethodPut, harness.WithDigest(location, digest), bytes.NewReader(second), "Content-Type", "application/octet-stream")
		if got := b.Get(t, "/v2/"+repository+"/blobs/"+digest, ""); !bytes.Equal(got, whole) {
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
	b := harness.Start(t)
	content := bytes.Repeat([]byte("slow"), 50000)
	digest := harness.Digest(content)
	location := harness.WithDigest(b.Begin(t, "alice/app"), digest)
	writer, result := slowUpload(t, http.MethodPut, location, len(content))
	if _, err := writer.Write(content[:1000]); err != nil {
		t.Fatal(err)
	}
	if err := b.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "berth still takes connections", func() bool {
		fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
		response, err := fresh.Get(b.URL + "/healthz")
		if err == nil {
			_ = response.Body.Close()
		}
		return err != nil
	})
	select {
	case <-b.Exited:
		t.Fatalf("berth ended with an upload on its way:\n%s", b.Log)
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
	case <-b.Exited:
	case <-time.After(time.Minute):
		t.Fatal("berth did not stop after the last request")
	}
	if code := b.Cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("berth exited with %d:\n%s", code, b.Log)
	}
	b.Restart()
	if got := b.Get(t, "/v2/alice/app/blobs/"+digest, ""); !bytes.Equal(got, content) {
		t.Errorf("the upload gave %d bytes, want %d", len(got), len(content))
	}
}

// slowUpload begins a request, and returns when berth reads its body, which is
// what the test then writes. The result is an error, or nil for 201.
func slowUpload(t *testing.T, method, location string, length int) (*io.PipeWriter, <-chan error) {
	t.Helper()
	reading := make(chan struct{})
	body, writer := io.Pipe()
	ctx := httptrace.WithClientTrace(harness.TestContext(t), &httptrace.ClientTrace{Got100Continue: func() { close(reading) }})
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

// TestDrainLimit cuts off a request that takes longer than it may.
func TestDrainLimit(t *testing.T) {
	t.Parallel()
	b := harness.Start(t, harness.WithEnv("BERTH_HTTP_TIMEOUTS_SHUTDOWN=200ms"))
	writer, result := slowUpload(t, http.MethodPatch, b.Begin(t, "alice/app").String(), 10)
	b.Stop() // with 0, or the test fails
	_ = writer.Close()
	if err := <-result; err == nil || strings.HasPrefix(err.Error(), "got ") {
		t.Errorf("the upload was answered: %v", err)
	}
	if !strings.Contains(b.Log.String(), "cut off") {
		t.Errorf("the log does not say that a request was cut off:\n%s", b.Log)
	}
}

// TestInMemory keeps nothing: it starts empty again.
func TestInMemory(t *testing.T) {
	t.Parallel()
	b := harness.Start(t, harness.WithEnv("BERTH_STORAGE=inmemory"))
	f := harness.FixtureNamed(t, "unikraft-rom")
	if err := harness.PushGGCR(t, b, f.Dir(), f.Tag, "alice/rom"); err != nil {
		t.Fatal(err)
	}
	harness.WantFixture(t, b, f, "alice/rom", f.Tag)
	pulled := t.TempDir()
	if err := harness.PullGGCR(t, b, "alice/rom", f.Digest, pulled); err != nil {
		t.Fatal(err)
	}
	harness.SameBlobs(t, pulled, f.Dir())

	for _, end := range []func(){b.Stop, b.Kill} {
		end()
		b.Restart()
		harness.WantAll(t, b)
		harness.WantNoImage(t, b, "/v1/images", `{"tag":"alice/rom"}`)
		b.Must(t, http.StatusNotFound, http.MethodGet, "/v2/alice/rom/manifests/latest", nil)
		if err := harness.PushGGCR(t, b, f.Dir(), f.Tag, "alice/rom"); err != nil {
			t.Fatal(err)
		}
		harness.WantAll(t, b, f.V1("alice/rom", f.Tag))
	}
}
