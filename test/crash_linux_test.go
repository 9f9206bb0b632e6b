package test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"reflect"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// maxFile makes every write of the process behind this offset of a file fail,
// as on a full disk; a negative one lets all succeed again.
func (b *Berth) maxFile(bytes int64) {
	b.t.Helper()
	var limit unix.Rlimit
	if err := unix.Prlimit(b.cmd.Process.Pid, unix.RLIMIT_FSIZE, nil, &limit); err != nil {
		b.t.Fatal(err)
	}
	limit.Cur = limit.Max
	if bytes >= 0 {
		limit.Cur = uint64(bytes)
	}
	if err := unix.Prlimit(b.cmd.Process.Pid, unix.RLIMIT_FSIZE, &limit, nil); err != nil {
		b.t.Fatal(err)
	}
}

const (
	// The index has its first pages of data behind this offset, whatever its
	// size; manifests, links and small blobs are shorter.
	rawOnlyIndexFails = 8 << 10
	// A link holds 71 bytes.
	rawLinksFail = 60
	rawAllWell   = -1
)

// TestIndexThatCannotBeWritten wants every change refused that could not be
// shown, and the answers right as soon as there is space again.
func TestIndexThatCannotBeWritten(t *testing.T) {
	b := start(t)
	c := newRawClient(b.URL)
	image := newRawImage("k", "full disk")
	digest, err := c.push("full/app", "v1", image)
	if err != nil {
		t.Fatal(err)
	}
	before := answersOf(t, c)

	b.maxFile(rawOnlyIndexFails)
	for what, request := range map[string]func() error{
		"a push":             func() error { _, err := c.push("full/other", "v1", image); return err },
		"a push of an index": func() error { return c.pushManifest("full/app", "v2", rawOCIIndex, image.index) },
		"a re-tag": func() error {
			return c.pushManifest("full/app", "v1", rawOCIManifest, image.manifest)
		},
		"a deletion by tag": func() error {
			_, err := c.want(http.StatusAccepted, http.MethodDelete, "/v2/full/app/manifests/v1", nil)
			return err
		},
		"a deletion by digest": func() error {
			_, err := c.want(http.StatusAccepted, http.MethodDelete, "/v2/full/app/manifests/"+digest, nil)
			return err
		},
	} {
		var refused *rawRefusal
		if err := request(); !errors.As(err, &refused) || refused.status < 500 {
			t.Errorf("%s without a writable index: %v, want a status from 500 on", what, err)
		}
	}
	if after := answersOf(t, c); !reflect.DeepEqual(after, before) {
		t.Errorf("answers while the index cannot be written:\n%v, want\n%v", after, before)
	}

	b.maxFile(rawAllWell)
	if tags, err := c.tagsOf("full/app"); err != nil || len(tags) != 1 {
		t.Errorf("tags %v (%v), want v1 alone", tags, err)
	}
	if after := answersOf(t, c); !reflect.DeepEqual(after, before) {
		t.Errorf("answers with space again:\n%v, want\n%v", after, before)
	}
	if _, err := c.push("full/app", "v2", newRawImage("k", "space again")); err != nil {
		t.Error(err)
	}
	compareRebuilt(t, b)
}

// TestDiskThatFailsNowAndThen lets writes of index and storage fail at random
// moments, and wants each change to have happened whole or not at all, without
// a restart.
func TestDiskThatFailsNowAndThen(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 15
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	b := start(t)
	crew := newRawCrew(b, seed)
	for round := range rounds {
		fails := []int64{rawOnlyIndexFails, rawLinksFail}[rnd.IntN(2)]
		wait := crew.work(t)
		done := make(chan struct{})
		go func() { wait(); close(done) }()
		for failing := true; failing; {
			// Mostly well, or nothing would be half done.
			time.Sleep(time.Duration(rnd.IntN(30)) * time.Millisecond)
			b.maxFile(fails)
			select {
			case <-done:
				failing = false
			case <-time.After(time.Duration(rnd.IntN(3000)) * time.Microsecond):
			}
			b.maxFile(rawAllWell)
		}
		crew.verify(t)
		if t.Failed() {
			t.Fatalf("in round %d, where %s", round, map[int64]string{
				rawOnlyIndexFails: "the index failed", rawLinksFail: "index and storage failed"}[fails])
		}
	}
	t.Log(fmt.Sprint(crew.steps, " steps in ", rounds, " rounds"))
	compareRebuilt(t, b)
}
