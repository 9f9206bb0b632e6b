package test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// rawWriter changes repositories at random, and knows at any time what they
// must hold of what is its own: its tags begin with its name, and no other
// writer makes the same images.
type rawWriter struct {
	c            *rawClient
	name         string
	rnd          *rand.Rand
	repositories []string

	ledgers map[string]*ledger           // by repository: what was acknowledged
	made    map[string]rawStored         // by digest: every manifest it ever made
	blobs   map[string]map[string][]byte // by repository and digest: every acknowledged blob
	count   int

	// What was asked for and not acknowledged: it may have happened.
	doubt   *ledger
	doubtIn string

	// checks makes the writer look at every answer that it can get, after
	// every change.
	checks bool
}

type rawStored struct {
	mediaType string
	body      []byte
	children  []string
}

func newRawWriter(c *rawClient, name string, seed uint64, repositories ...string) *rawWriter {
	w := &rawWriter{
		c: c, name: name, rnd: rand.New(rand.NewPCG(seed, uint64(len(name)))), repositories: repositories,
		ledgers: map[string]*ledger{}, made: map[string]rawStored{}, blobs: map[string]map[string][]byte{},
	}
	for _, r := range repositories {
		w.ledgers[r], w.blobs[r] = newLedger(), map[string][]byte{}
	}
	return w
}

// step makes one change, or pushes one image.
func (w *rawWriter) step() error {
	repository := w.repositories[w.rnd.IntN(len(w.repositories))]
	l := w.ledgers[repository]
	choice := w.rnd.IntN(10)
	switch {
	case choice < 3 || len(l.held) == 0:
		return w.pushNew(repository)
	case choice < 6:
		return w.put(repository, w.pick(l, func(string) bool { return true }), w.anyTag())
	case choice < 8:
		return w.untag(repository, w.anyTag())
	default:
		return w.remove(repository, w.pick(l, func(d string) bool { return !l.inIndex(d) }))
	}
}

func (w *rawWriter) anyTag() string { return fmt.Sprintf("%s-%d", w.name, w.rnd.IntN(4)) }

// pick returns one of the manifests that are held and fit; there is one.
func (w *rawWriter) pick(l *ledger, fits func(string) bool) string {
	var all []string
	for d := range l.held {
		if fits(d) {
			all = append(all, d)
		}
	}
	slices.Sort(all) // so that a seed tells all
	return all[w.rnd.IntN(len(all))]
}

// pushNew pushes an image: its blobs, its manifest by digest, its index by tag.
// Some indexes also refer to a manifest that is there already.
func (w *rawWriter) pushNew(repository string) error {
	w.count++
	image := newRawImage(w.name, fmt.Sprintf("%s-%s-%d", w.name, repository, w.count))
	for _, blob := range image.blobs {
		if err := w.blob(repository, blob); err != nil {
			return err
		}
	}
	manifest := w.make(rawOCIManifest, image.manifest)
	children := []string{manifest}
	descriptors := []rawDescriptor{rawDescribe(rawOCIManifest, image.manifest)}
	l := w.ledgers[repository]
	if other := w.pickChild(l); other != "" {
		children = append(children, other)
		descriptors = append(descriptors, rawDescribe(rawOCIManifest, w.made[other].body))
	}
	index := w.make(rawOCIIndex, rawIndexOf(descriptors...), children...)
	if err := w.put(repository, manifest, ""); err != nil {
		return err
	}
	return w.put(repository, index, w.anyTag())
}

func (w *rawWriter) pickChild(l *ledger) string {
	bare := func(d string) bool { return len(l.held[d]) == 0 }
	for d := range l.held {
		if bare(d) && w.rnd.IntN(3) == 0 {
			return w.pick(l, bare)
		}
	}
	return ""
}

func (w *rawWriter) make(mediaType string, body []byte, children ...string) string {
	d := rawDigest(body)
	w.made[d] = rawStored{mediaType, body, children}
	return d
}

// blob pushes a blob, unless it is there.
func (w *rawWriter) blob(repository string, content []byte) error {
	d := rawDigest(content)
	if w.blobs[repository][d] != nil {
		return nil
	}
	err := w.c.pushBlob(repository, content)
	if err == nil {
		w.blobs[repository][d] = content
	}
	return err
}

// put pushes a manifest that the writer made: by tag, or by digest if it is "".
func (w *rawWriter) put(repository, digest, tag string) error {
	m := w.made[digest]
	after := w.ledgers[repository].put(digest, tag, m.children...)
	reference := tag
	if tag == "" {
		reference = digest
	}
	return w.change(repository, after, tag, digest, func() error {
		return w.c.pushManifest(repository, reference, m.mediaType, m.body)
	})
}

func (w *rawWriter) untag(repository, tag string) error {
	before := w.ledgers[repository]
	status := http.StatusAccepted
	if before.tags[tag] == "" {
		status = http.StatusNotFound
	}
	return w.change(repository, before.untag(tag), tag, before.tags[tag], func() error {
		_, err := w.c.want(status, http.MethodDelete, "/v2/"+repository+"/manifests/"+tag, nil)
		return err
	})
}

func (w *rawWriter) remove(repository, digest string) error {
	before := w.ledgers[repository]
	return w.change(repository, before.remove(digest), "", digest, func() error {
		_, err := w.c.want(http.StatusAccepted, http.MethodDelete, "/v2/"+repository+"/manifests/"+digest, nil)
		return err
	})
}

// change makes a request, and then the ledger what it must be.
func (w *rawWriter) change(repository string, after *ledger, tag, digest string, request func() error) error {
	w.doubt, w.doubtIn = after, repository
	if err := request(); err != nil {
		return err
	}
	w.ledgers[repository], w.doubt = after, nil
	if !w.checks {
		return nil
	}
	if err := w.check(repository, tag, digest); err != nil {
		return fmt.Errorf("after a change of %s (tag %q, digest %s): %w", repository, tag, digest, err)
	}
	return nil
}

// check asks in every way for what is the writer's own in a repository.
func (w *rawWriter) check(repository, tag, digest string) error {
	l := w.ledgers[repository]
	list, err := w.c.listed("?namespace="+repository, "")
	if err != nil {
		return err
	}
	want := l.listed(repository)
	if got := w.own(list); !reflect.DeepEqual(got, want) {
		return fmt.Errorf("the list has\n%v, want\n%v", got, want)
	}
	tags, err := w.c.tagsOf(repository)
	if err != nil {
		return err
	}
	tags = slices.DeleteFunc(tags, func(t string) bool { return !strings.HasPrefix(t, w.name+"-") })
	if len(tags) != len(l.tags) || slices.ContainsFunc(tags, func(t string) bool { return l.tags[t] == "" }) {
		return fmt.Errorf("the tag listing has %v, want those of %v", tags, l.tags)
	}
	if tag != "" {
		if err := w.checkTag(repository, tag, l.tags[tag]); err != nil {
			return err
		}
	}
	if digest == "" {
		return nil
	}
	return w.checkDigest(repository, digest)
}

func (w *rawWriter) checkTag(repository, tag, want string) error {
	if got, err := w.c.digestOf(repository, tag); err != nil || got != want {
		return fmt.Errorf("the registry has %q under the tag, want %q (%w)", got, want, err)
	}
	found, err := w.c.listed("", fmt.Sprintf(`{"tag":"%s:%s"}`, repository, tag))
	if err != nil {
		return err
	}
	if _, ok := found[repository+"@"+want]; ok != (want != "") || len(found) > 1 {
		return fmt.Errorf("the lookup of the tag has %v, want %q", found, want)
	}
	return nil
}

func (w *rawWriter) checkDigest(repository, digest string) error {
	l := w.ledgers[repository]
	_, there := l.held[digest]
	if got, err := w.c.digestOf(repository, digest); err != nil || (got == digest) != there {
		return fmt.Errorf("the registry has %q under the digest, want it there: %v (%w)", got, there, err)
	}
	found, err := w.c.listed("", fmt.Sprintf(`{"digest":"%s@%s"}`, repository, digest))
	if err != nil {
		return err
	}
	tags, ok := found[repository+"@"+digest]
	for i := range tags {
		tags[i] = strings.TrimPrefix(tags[i], repository+":")
	}
	if ok != there || there && !slices.Equal(tags, l.tagsOf(digest)) {
		return fmt.Errorf("the lookup of the digest has %v, want it there: %v, tags %v", found, there, l.tagsOf(digest))
	}
	return nil
}

// own leaves only what this writer made.
func (w *rawWriter) own(list rawListed) rawListed {
	own := rawListed{}
	for name, tags := range list {
		if _, digest, _ := strings.Cut(name, "@"); w.made[digest].body != nil {
			own[name] = tags
		}
	}
	return own
}

// TestEveryChangeIsInTheNextAnswer is a thousand changes by concurrent writers,
// each of whom looks at its own after every answer.
func TestEveryChangeIsInTheNextAnswer(t *testing.T) {
	b := start(t, withArgs("--log-level", "warn"))
	steps, seed := 1000, rand.Uint64()
	if testing.Short() {
		steps = 200
	}
	t.Logf("seed %d", seed)
	const writers = 5
	var wg sync.WaitGroup
	for i := range writers {
		w := newRawWriter(newRawClient(b.URL), fmt.Sprintf("w%d", i), seed, "shared/app", fmt.Sprintf("own%d/app", i))
		w.checks = true
		wg.Go(func() {
			for n := range steps / writers {
				if err := w.step(); err != nil {
					t.Errorf("%s, step %d: %v", w.name, n, err)
					return
				}
			}
		})
	}
	wg.Wait()
	compareRebuilt(t, b)
}

// TestDeleteByDigestSparesAMovedTag lets one client delete what a tag points
// to while another moves the tag away.
func TestDeleteByDigestSparesAMovedTag(t *testing.T) {
	b := start(t, withArgs("--log-level", "warn"))
	c := newRawClient(b.URL)
	stays := newRawImage("k", "stays")
	kept, err := c.push("race/app", "stays", stays)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 30 {
		leaves, err := c.push("race/app", "moves", newRawImage("k", fmt.Sprint("leaves ", n)))
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := c.want(http.StatusAccepted, http.MethodDelete, "/v2/race/app/manifests/"+leaves, nil); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if err := c.pushManifest("race/app", "moves", rawOCIIndex, stays.index); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		got, err := c.digestOf("race/app", "moves")
		if err != nil || got != kept {
			t.Fatalf("round %d: the moved tag is %q (%v), want %q", n, got, err, kept)
		}
		list, err := c.listed("?namespace=race", "")
		want := rawListed{"race/app@" + kept: {"race/app:moves", "race/app:stays"}}
		if err != nil || !reflect.DeepEqual(list, want) {
			t.Fatalf("round %d: the list is %v (%v), want %v", n, list, err, want)
		}
	}
}

var opTime = regexp.MustCompile(`"op_time_us":\d+`)

// answersOf is all that the images API says of what is there: both lists, and
// every image by UUID.
func answersOf(t testing.TB, c *rawClient) map[string]string {
	t.Helper()
	answers := map[string]string{}
	ask := func(path string) []byte {
		a, err := c.want(http.StatusOK, http.MethodGet, path, nil)
		if err != nil {
			t.Fatal(err)
		}
		body := opTime.ReplaceAll(a.body, nil)
		answers[path] = string(body)
		return body
	}
	ask("/v1/images/list")
	ask("/v1/images?order=asc")
	uuid := regexp.MustCompile(`"uuid":"([^"]+)"`)
	for _, m := range uuid.FindAllSubmatch(ask("/v1/images"), -1) {
		ask("/v1/images?uuid=" + string(m[1]))
	}
	return answers
}

// compareRebuilt stops berth, deletes the index, and wants the same answers
// from the one that is made from storage.
func compareRebuilt(t testing.TB, b *Berth) {
	t.Helper()
	before := answersOf(t, newRawClient(b.URL))
	b.stop()
	if err := os.Remove(filepath.Join(b.Data, "catalog.db")); err != nil {
		t.Fatal(err)
	}
	b.restart()
	after := answersOf(t, newRawClient(b.URL))
	for path, want := range before {
		if got := after[path]; !bytes.Equal([]byte(got), []byte(want)) {
			t.Errorf("%s after the index was made again:\n%s\nbefore:\n%s", path, got, want)
		}
	}
}
