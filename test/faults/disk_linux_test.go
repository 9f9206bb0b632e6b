package faults

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
	"github.com/berth-oci/berth/test/writers"
)

const (
	// The index has its first pages of data behind this offset, whatever its
	// size; manifests, links and small blobs are shorter.
	onlyIndexFails = 8 << 10
	// A link holds 71 bytes.
	linksFail = 60
	allWell   = -1
)

// TestIndexThatCannotBeWritten wants every change refused that could not be
// shown, and the answers right as soon as there is space again.
func TestIndexThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	c := harness.NewClient(b.URL)
	image := harness.NewImage("k", "full disk")
	digest, err := c.Push("full/app", "v1", image)
	if err != nil {
		t.Fatal(err)
	}
	before := harness.AllAnswers(t, c)

	b.MaxFile(onlyIndexFails)
	for what, request := range map[string]func() error{
		"a push":             func() error { _, err := c.Push("full/other", "v1", image); return err },
		"a push of an index": func() error { return c.PushManifest("full/app", "v2", harness.OCIIndex, image.Index) },
		"a re-tag": func() error {
			return c.PushManifest("full/app", "v1", harness.OCIManifest, image.Manifest)
		},
		"a deletion by tag": func() error {
			_, err := c.Want(http.StatusAccepted, http.MethodDelete, "/v2/full/app/manifests/v1", nil)
			return err
		},
		"a deletion by digest": func() error {
			_, err := c.Want(http.StatusAccepted, http.MethodDelete, "/v2/full/app/manifests/"+digest, nil)
			return err
		},
	} {
		var refused *harness.Refusal
		if err := request(); !errors.As(err, &refused) || refused.Status < 500 {
			t.Errorf("%s without a writable index: %v, want a status from 500 on", what, err)
		}
	}
	if after := harness.AllAnswers(t, c); !reflect.DeepEqual(after, before) {
		t.Errorf("answers while the index cannot be written:\n%v, want\n%v", after, before)
	}

	b.MaxFile(allWell)
	if tags, err := c.TagsOf("full/app"); err != nil || len(tags) != 1 {
		t.Errorf("tags %v (%v), want v1 alone", tags, err)
	}
	if after := harness.AllAnswers(t, c); !reflect.DeepEqual(after, before) {
		t.Errorf("answers with space again:\n%v, want\n%v", after, before)
	}
	if _, err := c.Push("full/app", "v2", harness.NewImage("k", "space again")); err != nil {
		t.Error(err)
	}
	harness.CompareRebuilt(t, b)
}

// TestDiskThatFailsNowAndThen lets writes of index and storage fail at random
// moments, and wants each change to have happened whole or not at all, without
// a restart.
func TestDiskThatFailsNowAndThen(t *testing.T) {
	t.Parallel()
	rounds := harness.Rounds("crash", 6, 60)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	b := harness.Start(t)
	crew := writers.NewCrew(b, seed)
	for round := range rounds {
		fails := []int64{onlyIndexFails, linksFail}[rnd.IntN(2)]
		wait := crew.Work(t)
		done := make(chan struct{})
		go func() { wait(); close(done) }()
		for failing := true; failing; {
			// Mostly well, or nothing would be half done.
			time.Sleep(time.Duration(rnd.IntN(30)) * time.Millisecond)
			b.MaxFile(fails)
			select {
			case <-done:
				failing = false
			case <-time.After(time.Duration(rnd.IntN(3000)) * time.Microsecond):
			}
			b.MaxFile(allWell)
		}
		crew.Verify(t)
		if t.Failed() {
			t.Fatalf("in round %d, where %s", round, map[int64]string{
				onlyIndexFails: "the index failed", linksFail: "index and storage failed"}[fails])
		}
	}
	t.Log(fmt.Sprint(crew.Steps, " steps in ", rounds, " rounds"))
	harness.CompareRebuilt(t, b)
}
