package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
)

// What follows is what a follower of the feed is promised, by the words of etcd
// ("Watch APIs"), and that it is private. Eight clients write, each in a namespace of
// its own; eight watch, with different rights and filters, are cut off and go on,
// sometimes from where they were earlier; and berth is killed again and again.
//
//	ordered       the revisions that a watcher gets grow
//	unique        no revision stands for two changes, whoever reads it and whenever
//	atomic        a push is one event, with all its tags
//	reliable      an administrator gets every revision, without a gap, and what was
//	              acknowledged is among them
//	resumable     who is cut off goes on from the last revision, also over a kill
//	bookmarkable  at a bookmark all up to its revision has been sent: the state that
//	              follows from what was there first, and from all that came, is the list
//	private       nobody is told of a repository that they may not see, nor of an
//	              account

// feedWriter changes the repositories of one account.
type feedWriter struct {
	*harness.Client
	name   string
	images []harness.Image
	rand   *rand.Rand
	// done are the changes that were acknowledged, by what an event says of them, and
	// how often.
	done map[string]int
}

func putOf(repository, digest string, tags []string) string {
	return "put " + repository + "@" + digest + " " + strings.Join(tags, ",")
}

func deletionOf(repository, digest string) string { return "delete " + repository + "@" + digest }

// step makes one change; that berth does not answer is no error.
func (w *feedWriter) step() {
	repository := w.name + "/app" + fmt.Sprint(w.rand.IntN(2))
	image := w.images[w.rand.IntN(len(w.images))]
	digest := harness.Digest(image.Index)
	tags := []string{"a", "b", "c"}[:1+w.rand.IntN(3)]
	switch w.rand.IntN(6) {
	case 0:
		if a, err := w.Do(http.MethodDelete, "/v2/"+repository+"/manifests/"+digest, nil); err == nil && a.Status == http.StatusAccepted {
			w.done[deletionOf(repository, digest)]++
		}
	case 1:
		_, _ = w.Do(http.MethodDelete, "/v2/"+repository+"/manifests/"+tags[len(tags)-1], nil)
	default:
		for _, blob := range image.Blobs {
			if a, err := w.Do(http.MethodHead, "/v2/"+repository+"/blobs/"+harness.Digest(blob), nil); err == nil && a.Status == http.StatusOK {
				continue
			}
			if w.PushBlob(repository, blob) != nil {
				return
			}
		}
		if w.PushManifest(repository, harness.Digest(image.Manifest), harness.OCIManifest, image.Manifest) != nil {
			return
		}
		q := url.Values{"tag": tags}
		_, err := w.Want(http.StatusCreated, http.MethodPut, "/v2/"+repository+"/manifests/"+digest+"?"+q.Encode(), image.Index, "Content-Type", harness.OCIIndex)
		if err == nil {
			w.done[putOf(repository, digest, tags)]++
		}
	}
}

// feedWatchers are those of the test, each with its rights.
func feedWatchers(t *testing.T, b *harness.Berth, accounts map[string]harness.Account, seed uint64) []*feedWatcher {
	t.Helper()
	log := &feedLog{seen: make(map[string]string)}
	in := func(names ...string) func(string) bool {
		return func(repository string) bool {
			return slices.ContainsFunc(names, func(n string) bool { return repository == n || strings.HasPrefix(repository, n+"/") })
		}
	}
	everything := func(string) bool { return true }
	all := []*feedWatcher{
		{name: "everything", account: accounts["root"], sees: everything, all: true},
		{name: "everything again", account: accounts["root"], sees: everything, all: true},
		{name: "two namespaces", account: accounts["root"], sees: in("w3", "w4"), query: url.Values{"namespace": {"w3", "w4"}}},
		{name: "deletions", account: accounts["root"], sees: everything, query: url.Values{"type": {"delete,untag"}}},
		{name: "own", account: accounts["w0"], sees: in("w0")},
		{name: "granted", account: accounts["w1"], sees: in("w1", "w2/app0")},
		{name: "one repository", account: accounts["w5"], sees: in("w5/app1"), query: url.Values{"repository": {"w5/app1"}}},
		{name: "of another", account: accounts["w6"], sees: in("w6"), query: url.Values{"namespace": {"w6", "w7"}}},
	}
	for i, w := range all {
		w.b, w.log, w.got = b, log, make(map[string]feedEvent)
		w.rand = rand.New(rand.NewPCG(seed, uint64(100+i)))
		if w.query == nil {
			w.query = url.Values{}
		}
	}
	return all
}

// TestFeedOrderedUniqueAtomicReliableResumableBookmarkablePrivate is all of it.
func TestFeedOrderedUniqueAtomicReliableResumableBookmarkablePrivate(t *testing.T) {
	harness.Long(t, "crash", "sixteen clients want all that there is")
	t.Parallel()
	kills, seed := harness.Rounds("crash", 0, 20), rand.Uint64()
	t.Logf("seed %d", seed)
	b := harness.Start(t, harness.WithArgs("--log-level", "warn"))
	accounts := map[string]harness.Account{"root": harness.AddAccount(t, b, "root", "--admin")}
	var writers []*feedWriter
	for i := range 8 {
		name := fmt.Sprint("w", i)
		accounts[name] = harness.AddAccount(t, b, name)
		w := &feedWriter{Client: accounts[name].On(b), name: name, rand: rand.New(rand.NewPCG(seed, uint64(i))), done: make(map[string]int)}
		for j := range 3 {
			w.images = append(w.images, harness.NewImage("k", fmt.Sprint(name, " ", j)))
		}
		writers = append(writers, w)
	}
	harness.AccountCommand(t, b, nil, "grant", "w1", "read", "w2/app0")
	watchers := feedWatchers(t, b, accounts, seed)
	for _, w := range watchers { // from the first change on
		harness.Eventually(t, w.name+" is told of no revision", func() bool {
			if err := w.follow(t.Context(), 200*time.Millisecond); err != nil && !errors.Is(err, errUnavailable) {
				t.Fatal(err)
			}
			return w.since != ""
		})
	}

	writing, stopWriting := context.WithCancel(t.Context())
	watching, stopWatching := context.WithCancel(t.Context())
	defer stopWriting()
	defer stopWatching()
	var write, watch sync.WaitGroup
	for _, w := range writers {
		write.Go(func() {
			for writing.Err() == nil {
				w.step()
				time.Sleep(time.Duration(w.rand.IntN(30)) * time.Millisecond)
			}
		})
	}
	for _, w := range watchers {
		watch.Go(func() {
			if err := w.run(watching); err != nil {
				t.Error(err)
			}
		})
	}
	rnd := rand.New(rand.NewPCG(seed, 99))
	for range kills {
		time.Sleep(time.Duration(300+rnd.IntN(700)) * time.Millisecond)
		b.Kill()
		b.Restart()
		if t.Failed() {
			break
		}
	}
	time.Sleep(time.Second)
	harness.Eventually(t, "no change came again, or there was no comparison", func() bool {
		return t.Failed() || watchers[0].repeated.Load() > 0 && watchers[0].compared.Load() > 0
	})
	stopWriting()
	write.Wait()
	stopWatching()
	watch.Wait()
	if t.Failed() {
		return
	}
	for _, w := range watchers {
		if !w.query.Has("type") {
			w.check(t, "at the end")
		}
		t.Logf("%s: %d changes, %d of them again, in %d streams with %d bookmarks; compared %d times with the list", w.name, len(w.got), w.repeated.Load(), w.begun, w.marks, w.compared.Load())
	}
	checkReliable(t, writers, watchers[0])
}

// checkReliable wants everything that was acknowledged among what the watcher got.
func checkReliable(t *testing.T, writers []*feedWriter, w *feedWatcher) {
	t.Helper()
	if w.repeated.Load() == 0 || w.marks == 0 || w.compared.Load() == 0 {
		t.Errorf("%d changes came again, there were %d bookmarks, and %d comparisons", w.repeated.Load(), w.marks, w.compared.Load())
	}
	told := make(map[string]int)
	for _, e := range w.got {
		var tags []string
		for _, tag := range e.Tags {
			if tag.Digest != "" {
				tags = append(tags, tag.Name)
			}
		}
		switch e.Type {
		case "push", "tag":
			told[putOf(e.Repository, e.Digest, tags)]++
		case "delete":
			told[deletionOf(e.Repository, e.Digest)]++
		}
	}
	acknowledged := 0
	for _, writer := range writers {
		for what, n := range writer.done {
			if acknowledged += n; told[what] < n {
				t.Errorf("%s was acknowledged %d times, and told %d times", what, n, told[what])
			}
		}
	}
	t.Logf("%d changes were acknowledged", acknowledged)
}
