package test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"strings"
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
		if bare(d) {
			if w.rnd.IntN(3) == 0 {
				return w.pick(l, bare)
			}
			return ""
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
		return fmt.Errorf("the registry has %q under the tag, want %q (%v)", got, want, err)
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
		return fmt.Errorf("the registry has %q under the digest, want it there: %v (%v)", got, there, err)
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
