package faults

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"reflect"
	"sync"
	"testing"

	"github.com/berth-oci/berth/test/harness"
	"github.com/berth-oci/berth/test/writers"
)

// TestEveryChangeIsInTheNextAnswer is a hundred changes or more by concurrent writers,
// each of whom looks at its own after every answer.
func TestEveryChangeIsInTheNextAnswer(t *testing.T) {
	t.Parallel()
	b := harness.Start(t, harness.WithArgs("--log-level", "warn"))
	steps, seed := harness.Rounds("linear", 100, 1000), rand.Uint64()
	t.Logf("seed %d", seed)
	const hands = 5
	var wg sync.WaitGroup
	for i := range hands {
		w := writers.NewWriter(harness.NewClient(b.URL), fmt.Sprintf("w%d", i), seed, "shared/app", fmt.Sprintf("own%d/app", i))
		w.Checks = true
		wg.Go(func() {
			for n := range steps / hands {
				if err := w.Step(); err != nil {
					t.Errorf("%s, step %d: %v", w.Name, n, err)
					return
				}
			}
		})
	}
	wg.Wait()
	harness.CompareRebuilt(t, b)
}

// TestDeleteByDigestSparesAMovedTag lets one client delete what a tag points
// to while another moves the tag away.
func TestDeleteByDigestSparesAMovedTag(t *testing.T) {
	t.Parallel()
	b := harness.Start(t, harness.WithArgs("--log-level", "warn"))
	c := harness.NewClient(b.URL)
	stays := harness.NewImage("k", "stays")
	kept, err := c.Push("race/app", "stays", stays)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 30 {
		leaves, err := c.Push("race/app", "moves", harness.NewImage("k", fmt.Sprint("leaves ", n)))
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := c.Want(http.StatusAccepted, http.MethodDelete, "/v2/race/app/manifests/"+leaves, nil); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if err := c.PushManifest("race/app", "moves", harness.OCIIndex, stays.Index); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		got, err := c.DigestOf("race/app", "moves")
		if err != nil || got != kept {
			t.Fatalf("round %d: the moved tag is %q (%v), want %q", n, got, err, kept)
		}
		list, err := c.Listed("?namespace=race", "")
		want := harness.Listed{"race/app@" + kept: {"race/app:moves", "race/app:stays"}}
		if err != nil || !reflect.DeepEqual(list, want) {
			t.Fatalf("round %d: the list is %v (%v), want %v", n, list, err, want)
		}
	}
}
