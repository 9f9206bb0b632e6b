package wired

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/bolt"
)

// TestRecoveryHoldsUpNobodyElse starts after a kill while the blobs of a
// repository were changing, with a storage that does not answer what is in it:
// berth starts, reads of everything and changes of everything else are answered,
// and only a change of that repository waits.
func TestRecoveryHoldsUpNobodyElse(t *testing.T) {
	dir := t.TempDir()
	killed := newFullBerth(t, dir, "catalog.db", nil)
	kept := killed.push(fullKept, "kept", "v1", "v2")
	killed.push("other/app", "other", "v1")
	// What the index was not told of, and must come to know.
	late := digest.FromString("late")
	for path, content := range map[string]string{
		"blobs/sha256/" + late.Encoded()[:2] + "/" + late.Encoded() + "/data":      "late",
		"repositories/" + fullKept + "/_layers/sha256/" + late.Encoded() + "/link": late.String(),
	} {
		if err := killed.store.Driver().PutContent(t.Context(), "/docker/registry/v2/"+path, []byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	index, err := os.ReadFile(filepath.Join(dir, "catalog.db"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "again.db"), index, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	left, err := bolt.Open(filepath.Join(dir, "again.db"), killed.store.Identity())
	if err != nil {
		t.Fatal(err)
	}
	if err := left.MarkDirty(t.Context(), fullKept); err != nil {
		t.Fatal(err)
	}
	if err := left.Close(); err != nil {
		t.Fatal(err)
	}
	before := killed.reads(kept)

	reading, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	b := newFullBerth(t, dir, "again.db", func(path string) {
		if !strings.HasSuffix(path, "/"+fullKept+"/_layers/sha256") {
			return
		}
		once.Do(func() { close(reading) })
		select {
		case <-release:
		case <-time.After(time.Minute):
			t.Error("somebody waited for a repository that could not be read")
		}
	})
	select {
	case <-reading:
	case <-time.After(time.Minute):
		t.Fatal("the repository is not read again")
	}
	manifest, _ := fullManifest("kept")
	written := make(chan int, 1)
	go func() {
		written <- b.ask("PUT", "/v2/"+fullKept+"/manifests/v3", manifest, "Content-Type", fullManifestType).Code
	}()
	sameReads(t, "while a repository is read again", b.reads(kept), before)
	b.push("other/app", "more", "v2")
	b.push("fresh/app", "fresh", "v1")
	b.must(http.StatusAccepted, "DELETE", "/v2/other/app/manifests/v1", "")
	b.pushBlobs(fullKept, "a blob that is new") // blobs wait for nobody
	select {
	case status := <-written:
		t.Errorf("a change of the repository was answered %d before it was read", status)
	default:
	}
	close(release)
	if status := <-written; status != http.StatusCreated {
		t.Errorf("the change that waited: got %d, want 201", status)
	}
	w := b.must(http.StatusOK, "GET", "/v2/"+fullKept+"/tags/list", "")
	if want := `["v1","v2","v3"]`; !strings.Contains(w.Body.String(), want) {
		t.Errorf("then the tags are %s, want %s", w.Body, want)
	}
	if _, found, err := b.index.Linked(t.Context(), fullKept, late); err != nil || !found {
		t.Errorf("the blob that came late is known: %v, %v", found, err)
	}
	for deadline := time.Now().Add(time.Minute); !b.rebuilt(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the index is\n%v", fullState(t, b.index.Index))
		}
	}
}
