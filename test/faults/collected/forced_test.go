package collected

import (
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage"
)

const (
	one, two = "alice/one", "alice/two"
	layer    = "the bytes of a layer"
)

// forced is an order of steps in which something could get lost, and what keeps it
// from that.
type forced struct {
	name    string
	with    options
	without options
	// run returns whether who was told that something is there has it.
	run func(w *world, without bool) bool
}

func off(guards ...storage.Guard) options { return options{off: guards} }

var allForced = []forced{
	{
		name:    "a blob is uploaded again, and its manifest is not there yet",
		without: options{neverRenew: true},
		run: func(w *world, _ bool) bool {
			w.upload(one, layer)
			w.pass(lease * 9 / 10)
			w.upload(one, layer)
			w.pass(lease / 2)
			w.sweep()
			return w.put(one, layer).Code == http.StatusCreated && w.isWhole(one, layer)
		},
	},
	{
		name:    "HEAD says yes of what is idle, the sweep comes, the manifest is put",
		without: options{neverRenew: true},
		run: func(w *world, _ bool) bool {
			w.push(one, layer)
			w.remove(one, manifest(layer)) // the last manifest goes
			w.pass(lease * 9 / 10)
			w.want(http.StatusOK, "HEAD", "/v2/"+one+"/blobs/"+dgst(layer), "")
			w.pass(lease / 2)
			w.sweep()
			return w.put(one, layer).Code == http.StatusCreated && w.isWhole(one, layer)
		},
	},
	{
		name:    "HEAD says yes of what is about to go",
		without: off(storage.GuardHead),
		run:     headOfWhatGoes,
	},
	{
		name:    "a blob that is about to die is mounted",
		without: off(storage.GuardMount),
		run: func(w *world, _ bool) bool {
			w.upload(one, layer)
			w.pass(2 * lease)
			swept := w.once("put", two+"/_layers", func() { w.sweep() })
			answer := w.ask("POST", "/v2/"+two+"/blobs/uploads/?mount="+dgst(layer)+"&from="+one, "")
			w.reached(swept())
			return answer.Code == http.StatusCreated && w.put(two, layer).Code == http.StatusCreated && w.isWhole(two, layer)
		},
	},
	{
		name:    "a blob that is about to die is pushed to another repository",
		without: off(storage.GuardCommit),
		run: func(w *world, _ bool) bool {
			w.upload(one, layer)
			w.pass(2 * lease)
			swept := w.once("put", two+"/_layers", func() { w.sweep() })
			w.upload(two, layer)
			w.reached(swept())
			return w.put(two, layer).Code == http.StatusCreated && w.isWhole(two, layer)
		},
	},
	{
		// The links of its repository are safe while it has the repository's lease; its
		// own bytes are not.
		name:    "a manifest is put whose bytes are about to go",
		without: off(storage.GuardPut),
		run: func(w *world, _ bool) bool {
			w.push(one, layer)
			other := strings.Replace(manifest(layer), "{", `{"annotations":{"kept":"yes"},`, 1)
			w.want(http.StatusCreated, "PUT", "/v2/"+one+"/manifests/other", other, "Content-Type", imageType)
			w.remove(one, manifest(layer))
			w.pass(2 * lease)
			swept := w.once("put", one+"/_manifests/revisions", func() { w.sweep() })
			answer := w.put(one, layer)
			w.reached(swept())
			return answer.Code == http.StatusCreated && w.isWhole(one, layer)
		},
	},
	{
		name:    "an old blob is pushed again while it is enumerated",
		without: options{trusting: true},
		run: func(w *world, _ bool) bool {
			w.upload(one, layer)
			w.pass(2 * lease)
			pushed := w.once("listed", "link", func() { w.upload(one, layer) })
			w.sweep()
			w.reached(pushed())
			return w.put(one, layer).Code == http.StatusCreated && w.isWhole(one, layer)
		},
	},
	{
		name:    "a blob is pushed while a sweep, that was sure of it, takes it away",
		without: off(storage.GuardSweep),
		run: func(w *world, without bool) bool {
			w.upload(one, layer)
			w.pass(2 * lease)
			put, ended := make(chan bool, 1), make(chan struct{})
			blob := digest.FromString(layer).Encoded()
			pushed := w.once("delete", "/blobs/sha256/"+blob[:2]+"/"+blob, func() {
				go func() {
					defer close(ended)
					stored := w.ask("POST", "/v2/"+two+"/blobs/uploads/?digest="+dgst(layer), layer)
					put <- stored.Code == http.StatusCreated && w.put(two, layer).Code == http.StatusCreated
				}()
				if without { // else it waits for the sweep
					<-ended
				}
			})
			w.sweep()
			w.reached(pushed())
			return <-put && w.isWhole(two, layer)
		},
	},
	{
		name:    "the quarantine is emptied while something is brought back",
		with:    options{quarantine: lease},
		without: options{quarantine: lease, off: []storage.Guard{storage.GuardEmpty}},
		run: func(w *world, _ bool) bool {
			w.upload(one, layer)
			w.pass(2 * lease)
			w.sweep()
			w.pass(2 * lease)
			emptied := w.once("looked", "/berth/collected", func() { w.sweep() })
			answer := w.put(one, layer)
			w.reached(emptied())
			return answer.Code == http.StatusCreated && w.isWhole(one, layer)
		},
	},
}

// headOfWhatGoes asks for a manifest whose subject is gone at the moment in which
// the sweep is sure that it is idle.
func headOfWhatGoes(w *world, without bool) bool {
	w.push(one, layer)
	subject := manifest(layer)
	referrer := `{"schemaVersion":2,"mediaType":"` + imageType + `","artifactType":"application/x","config":` +
		`{"mediaType":"application/vnd.oci.empty.v1+json","digest":"` + dgst(layer) + `","size":1},"layers":[],"subject":` +
		`{"mediaType":"` + imageType + `","digest":"` + dgst(subject) + `","size":1}}`
	target := "/v2/" + one + "/manifests/" + dgst(referrer)
	w.want(http.StatusCreated, "PUT", target, referrer, "Content-Type", imageType)
	w.remove(one, subject)
	w.pass(2 * lease)
	told := make(chan int, 1)
	asked := w.once("is idle", one, func() {
		head := func() { told <- w.ask("HEAD", target, "").Code }
		if without {
			head()
		} else {
			go head() // it waits for the sweep
		}
	})
	w.sweep()
	w.reached(asked())
	if <-told == http.StatusNotFound {
		return true
	}
	return w.ask("GET", target, "").Code == http.StatusOK
}

// reached fails the test unless what it was to force has happened.
func (w *world) reached(there bool) {
	w.t.Helper()
	if !there {
		w.t.Fatal("the order was not forced: that step was not reached")
	}
}

// TestForced forces each order, and wants nothing to be lost; without what it is
// about, something must be, or the test tells nothing.
func TestForced(t *testing.T) {
	for _, f := range allForced {
		t.Run(f.name, func(t *testing.T) {
			if w := newWorld(t, f.with); !f.run(w, false) {
				t.Error("it got lost")
			}
			if w := newWorld(t, f.without); f.run(w, true) {
				t.Error("without what keeps it, it did not get lost: nothing is tested")
			}
		})
	}
}
