package writers

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/berth-oci/berth/test/harness"
)

// Writer changes repositories at random, and knows at any time what they
// must hold of what is its own: its tags begin with its name, and no other
// writer makes the same images.
type Writer struct {
	c            *harness.Client
	Name         string
	rnd          *rand.Rand
	repositories []string

	ledgers map[string]*ledger           // by repository: what was acknowledged
	made    map[string]stored            // by digest: every manifest it ever made
	blobs   map[string]map[string][]byte // by repository and digest: every acknowledged blob
	count   int

	// What was asked for and not acknowledged: it may have happened.
	doubt   *ledger
	doubtIn string

	// checks makes the writer look at every answer that it can get, after
	// every change.
	Checks bool
}

type stored struct {
	mediaType string
	body      []byte
	children  []string
}

// NewWriter returns a writer whose tags begin with a name; a seed makes it do the
// same again.
func NewWriter(c *harness.Client, name string, seed uint64, repositories ...string) *Writer {
	w := &Writer{
		c: c, Name: name, rnd: rand.New(rand.NewPCG(seed, uint64(len(name)))), repositories: repositories,
		ledgers: map[string]*ledger{}, made: map[string]stored{}, blobs: map[string]map[string][]byte{},
	}
	for _, r := range repositories {
		w.ledgers[r], w.blobs[r] = newLedger(), map[string][]byte{}
	}
	return w
}

// Step makes one change, or pushes one image.
func (w *Writer) Step() error {
	repository := w.repositories[w.rnd.IntN(len(w.repositories))]
	l := w.ledgers[repository]
	choice := w.rnd.IntN(10)
	if len(l.held) > 24 {
		choice = 9 // or there would be more and more to look at
	}
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

func (w *Writer) anyTag() string { return fmt.Sprintf("%s-%d", w.Name, w.rnd.IntN(4)) }

// pick returns one of the manifests that are held and fit; there is one.
func (w *Writer) pick(l *ledger, fits func(string) bool) string {
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
func (w *Writer) pushNew(repository string) error {
	w.count++
	image := harness.NewImage(w.Name, fmt.Sprintf("%s-%s-%d", w.Name, repository, w.count))
	for _, blob := range image.Blobs {
		if err := w.blob(repository, blob); err != nil {
			return err
		}
	}
	manifest := w.make(harness.OCIManifest, image.Manifest)
	children := []string{manifest}
	descriptors := []harness.Descriptor{harness.Describe(harness.OCIManifest, image.Manifest)}
	l := w.ledgers[repository]
	if other := w.pickChild(l); other != "" {
		children = append(children, other)
		descriptors = append(descriptors, harness.Describe(harness.OCIManifest, w.made[other].body))
	}
	index := w.make(harness.OCIIndex, harness.IndexOf(descriptors...), children...)
	if err := w.put(repository, manifest, ""); err != nil {
		return err
	}
	return w.put(repository, index, w.anyTag())
}

func (w *Writer) pickChild(l *ledger) string {
	bare := func(d string) bool { return len(l.held[d]) == 0 }
	for d := range l.held {
		if bare(d) {
			if w.rnd.IntN(3) == 0 {
				return w.pick(l, bare)
			}
			return ""
		}
	}
	return ""
}

func (w *Writer) make(mediaType string, body []byte, children ...string) string {
	d := harness.Digest(body)
	w.made[d] = stored{mediaType, body, children}
	return d
}

// blob pushes a blob, unless it is there.
func (w *Writer) blob(repository string, content []byte) error {
	d := harness.Digest(content)
	if w.blobs[repository][d] != nil {
		return nil
	}
	err := w.c.PushBlob(repository, content)
	if err == nil {
		w.blobs[repository][d] = content
	}
	return err
}

// put pushes a manifest that the writer made: by tag, or by digest if it is "".
func (w *Writer) put(repository, digest, tag string) error {
	m := w.made[digest]
	after := w.ledgers[repository].put(digest, tag, m.children...)
	reference := tag
	if tag == "" {
		reference = digest
	}
	return w.change(repository, after, tag, digest, func() error {
		return w.c.PushManifest(repository, reference, m.mediaType, m.body)
	})
}

func (w *Writer) untag(repository, tag string) error {
	before := w.ledgers[repository]
	status := http.StatusAccepted
	if before.tags[tag] == "" {
		status = http.StatusNotFound
	}
	return w.change(repository, before.untag(tag), tag, before.tags[tag], func() error {
		_, err := w.c.Want(status, http.MethodDelete, "/v2/"+repository+"/manifests/"+tag, nil)
		return err
	})
}

func (w *Writer) remove(repository, digest string) error {
	before := w.ledgers[repository]
	return w.change(repository, before.remove(digest), "", digest, func() error {
		_, err := w.c.Want(http.StatusAccepted, http.MethodDelete, "/v2/"+repository+"/manifests/"+digest, nil)
		return err
	})
}

// change makes a request, and then the ledger what it must be.
func (w *Writer) change(repository string, after *ledger, tag, digest string, request func() error) error {
	w.doubt, w.doubtIn = after, repository
	if err := request(); err != nil {
		return err
	}
	w.ledgers[repository], w.doubt = after, nil
	if !w.Checks {
		return nil
	}
	if err := w.check(repository, tag, digest); err != nil {
		return fmt.Errorf("after a change of %s (tag %q, digest %s): %w", repository, tag, digest, err)
	}
	return nil
}

// check asks in every way for what is the writer's own in a repository.
func (w *Writer) check(repository, tag, digest string) error {
	l := w.ledgers[repository]
	list, err := w.c.Listed("?namespace="+repository, "")
	if err != nil {
		return err
	}
	want := l.listed(repository)
	if got := w.own(list); !reflect.DeepEqual(got, want) {
		return fmt.Errorf("the list has\n%v, want\n%v", got, want)
	}
	tags, err := w.c.TagsOf(repository)
	if err != nil {
		return err
	}
	tags = slices.DeleteFunc(tags, func(t string) bool { return !strings.HasPrefix(t, w.Name+"-") })
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

func (w *Writer) checkTag(repository, tag, want string) error {
	if got, err := w.c.DigestOf(repository, tag); err != nil || got != want {
		return fmt.Errorf("the registry has %q under the tag, want %q (%v)", got, want, err)
	}
	found, err := w.c.Listed("", fmt.Sprintf(`{"tag":"%s:%s"}`, repository, tag))
	if err != nil {
		return err
	}
	if _, ok := found[repository+"@"+want]; ok != (want != "") || len(found) > 1 {
		return fmt.Errorf("the lookup of the tag has %v, want %q", found, want)
	}
	return nil
}

func (w *Writer) checkDigest(repository, digest string) error {
	l := w.ledgers[repository]
	_, there := l.held[digest]
	if got, err := w.c.DigestOf(repository, digest); err != nil || (got == digest) != there {
		return fmt.Errorf("the registry has %q under the digest, want it there: %v (%v)", got, there, err)
	}
	found, err := w.c.Listed("", fmt.Sprintf(`{"digest":"%s@%s"}`, repository, digest))
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
func (w *Writer) own(list harness.Listed) harness.Listed {
	own := harness.Listed{}
	for name, tags := range list {
		if _, digest, _ := strings.Cut(name, "@"); w.made[digest].body != nil {
			own[name] = tags
		}
	}
	return own
}
