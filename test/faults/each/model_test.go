package each

import (
	"encoding/json"
	"flag"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"pgregory.net/rapid"

	"github.com/berth-oci/berth/test/harness"
)

// document is a manifest that a client may push, and what it needs.
type document struct {
	content, mediaType string
	blobs              []string
	children           []digest.Digest
	subject            digest.Digest
}

func (d document) digest() digest.Digest { return digest.FromString(d.content) }

// library is every manifest that is pushed, and contents every blob.
var library, contents = func() (all []document, blobs []string) {
	var images []string
	for _, name := range []string{"a", "b", "c"} {
		m, needs := image(name)
		images, blobs = append(images, m), append(blobs, needs...)
		all = append(all, document{content: m, mediaType: manifestType, blobs: needs})
	}
	index := func(mediaType string, children ...string) string {
		d := document{content: indexOf(mediaType, children...), mediaType: indexType}
		for _, c := range children {
			d.children = append(d.children, digest.FromString(c))
		}
		all = append(all, d)
		return d.content
	}
	both := index(manifestType, images[0], images[1])
	index(manifestType, images[1], images[2])
	index(indexType, both)
	blobs = append(blobs, "{}")
	for _, subject := range []string{images[0], both, "what never comes"} {
		r := document{content: referrerOf("r", manifestType, subject), mediaType: manifestType, blobs: []string{"{}"}, subject: digest.FromString(subject)}
		all = append(all, r)
		if subject == images[0] { // and one of the referrer
			all = append(all, document{content: referrerOf("s", manifestType, r.content), mediaType: manifestType, blobs: r.blobs, subject: r.digest()})
		}
	}
	return all, blobs
}()

// held is what a repository should hold, and in which order its tags were set.
// Collected are blobs that were there and have gone: a push may bring one back.
type held struct {
	blobs     map[string]bool
	collected map[string]bool
	manifests map[digest.Digest]document
	tags      map[string]digest.Digest
	set       map[string]int
}

// keeps reports whether something in the repository needs a manifest.
func (h *held) keeps(d document, subjects bool) bool {
	for _, tagged := range h.tags {
		if tagged == d.digest() {
			return true
		}
	}
	for _, m := range h.manifests {
		if slices.Contains(m.children, d.digest()) {
			return true
		}
	}
	_, there := h.manifests[d.subject]
	return subjects && there
}

// remove deletes a manifest with its tags and what only it held.
func (h *held) remove(d document) {
	maps.DeleteFunc(h.tags, func(_ string, to digest.Digest) bool { return to == d.digest() })
	delete(h.manifests, d.digest())
	for _, child := range d.children {
		if m, ok := h.manifests[child]; ok && !h.keeps(m, false) {
			h.remove(m)
		}
	}
}

// model is a registry, and what it should hold.
type model struct {
	b     *berth
	dir   string
	repos map[string]*held
	turn  int
}

func newModel(t *rapid.T, tb testing.TB, dir string) *model {
	m := &model{b: start(tb, place{disk: newDisk()}, dir), dir: dir, repos: map[string]*held{}}
	for _, name := range []string{app, carols} {
		m.repos[name] = &held{map[string]bool{}, map[string]bool{}, map[digest.Digest]document{}, map[string]digest.Digest{}, map[string]int{}}
	}
	return m
}

func (m *model) repo(t *rapid.T) (string, *held) {
	name := rapid.SampledFrom([]string{app, carols}).Draw(t, "repository")
	return name, m.repos[name]
}

func want(t *rapid.T, a answer, ok bool, status int, otherwise ...int) bool {
	t.Helper()
	if ok {
		otherwise = []int{status}
	}
	if err := a.wants(otherwise...); err != nil {
		t.Fatalf("want %v: %v", otherwise, err)
	}
	return ok
}

func (m *model) upload(t *rapid.T) {
	name, h := m.repo(t)
	content := rapid.SampledFrom(contents).Draw(t, "blob")
	var err error
	if chunks := rapid.IntRange(0, 2).Draw(t, "chunks"); chunks == 0 {
		err = m.b.postBlob(name, content)
	} else {
		err = m.b.upload(name, content, chunks-1)
	}
	if err != nil {
		t.Fatal(err)
	}
	h.blobs[content] = true
}

func (m *model) mount(t *rapid.T) {
	name, h := m.repo(t)
	from := app
	if name == app {
		from = carols
	}
	content := rapid.SampledFrom(contents).Draw(t, "blob")
	a := m.b.ask("POST", "/v2/"+name+"/blobs/uploads/?from="+from+"&mount="+digest.FromString(content).String(), "")
	if want(t, a, m.repos[from].blobs[content], http.StatusCreated, http.StatusAccepted) {
		h.blobs[content] = true
	}
}

func (m *model) push(t *rapid.T) {
	name, h := m.repo(t)
	d := rapid.SampledFrom(library).Draw(t, "manifest")
	tags := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"v1", "v2", "ci-1", "ci-2", "ci-3", "frozen"}), 0, 2, rapid.ID).Draw(t, "tags")
	ok, back := true, true
	for _, blob := range d.blobs {
		ok = ok && h.blobs[blob]
		back = back && (h.blobs[blob] || h.collected[blob])
	}
	if now, there := h.tags["frozen"]; name == app && slices.Contains(tags, "frozen") && there && now != d.digest() {
		ok, back = false, false
	}
	reference := d.digest().String()
	if len(tags) > 0 {
		reference += "?tag=" + strings.Join(tags, "&tag=")
	}
	a := m.b.ask("PUT", "/v2/"+name+"/manifests/"+reference, d.content, "Content-Type", d.mediaType)
	if back && a.Code == http.StatusCreated {
		for _, blob := range d.blobs {
			h.blobs[blob] = true
		}
	} else if !want(t, a, ok, http.StatusCreated, http.StatusBadRequest, http.StatusNotFound, http.StatusPreconditionFailed) {
		for _, blob := range d.blobs { // also a push that is refused in the end may have brought one back
			there := m.b.ask("HEAD", "/v2/"+name+"/blobs/"+digest.FromString(blob).String(), "").Code == http.StatusOK
			h.blobs[blob] = h.blobs[blob] || there && h.collected[blob]
		}
		return
	}
	h.manifests[d.digest()] = d
	slices.Sort(tags) // berth sets them in this order
	for _, tag := range tags {
		m.turn++
		h.tags[tag], h.set[tag] = d.digest(), m.turn
	}
}

func (m *model) untag(t *rapid.T) {
	name, h := m.repo(t)
	tag := rapid.SampledFrom([]string{"v1", "v2", "ci-1", "frozen"}).Draw(t, "tag")
	_, there := h.tags[tag]
	if want(t, m.b.ask("DELETE", "/v2/"+name+"/manifests/"+tag, ""), there, http.StatusAccepted, http.StatusNotFound) {
		delete(h.tags, tag)
	}
}

func (m *model) remove(t *rapid.T) {
	name, h := m.repo(t)
	d := rapid.SampledFrom(library).Draw(t, "manifest")
	_, there := h.manifests[d.digest()]
	if want(t, m.b.ask("DELETE", "/v2/"+name+"/manifests/"+d.digest().String(), ""), there, http.StatusAccepted, http.StatusNotFound) {
		h.remove(d)
	}
}

func (m *model) unlink(t *rapid.T) {
	name, h := m.repo(t)
	content := rapid.SampledFrom(contents).Draw(t, "blob")
	a := m.b.ask("DELETE", "/v2/"+name+"/blobs/"+digest.FromString(content).String(), "")
	if want(t, a, h.blobs[content], http.StatusAccepted, http.StatusNotFound) {
		delete(h.blobs, content)
		h.collected[content] = true
	}
}

// rules are carol's: of ci-* the last stays, and nothing that has no tag unless
// something keeps it.
func (m *model) rules(t *rapid.T) {
	if err := m.b.rules(); err != nil {
		t.Fatal(err)
	}
	h, last := m.repos[carols], ""
	for tag := range h.tags {
		if strings.HasPrefix(tag, "ci-") && (last == "" || h.set[tag] > h.set[last]) {
			last = tag
		}
	}
	maps.DeleteFunc(h.tags, func(tag string, _ digest.Digest) bool { return strings.HasPrefix(tag, "ci-") && tag != last })
	for gone := true; gone; {
		gone = false
		for _, d := range h.manifests {
			if !h.keeps(d, true) {
				delete(h.manifests, d.digest())
				gone = true
			}
		}
	}
}

// collect takes away what nothing needs. Of manifests, that may be those without a
// tag that were there for another.
func (m *model) collect(t *rapid.T) {
	if err := collection("collect").do(m.b, false); err != nil {
		t.Fatal(err)
	}
	for name, h := range m.repos {
		var gone []document
		needed := map[string]bool{}
		for _, d := range library {
			_, was := h.manifests[d.digest()]
			switch there := m.b.ask("HEAD", "/v2/"+name+"/manifests/"+d.digest().String(), "", "Accept", d.mediaType).Code == http.StatusOK; {
			case was && !there:
				delete(h.manifests, d.digest())
				gone = append(gone, d)
			case there:
				for _, blob := range d.blobs {
					needed[blob] = true
				}
			}
		}
		for _, d := range gone {
			if h.keeps(d, true) {
				t.Fatalf("%s: %s is collected", name, d.content)
			}
		}
		for blob := range h.blobs {
			if !needed[blob] {
				delete(h.blobs, blob)
				h.collected[blob] = true
			}
		}
	}
}

func (m *model) restart(t *rapid.T) {
	if rapid.Bool().Draw(t, "crash") {
		m.b.faults.mu.Lock()
		m.b.faults.dead = true
		m.b.faults.mu.Unlock()
	}
	m.b = start(m.b.t, m.b.end(), m.dir)
}

// check compares all that a client sees.
func (m *model) check(t *rapid.T) {
	for name, h := range m.repos {
		a := m.b.ask("GET", "/v2/"+name+"/tags/list", "")
		var list struct{ Tags []string }
		_ = json.Unmarshal(a.Body.Bytes(), &list)
		if tags := slices.Sorted(maps.Keys(h.tags)); !slices.Equal(list.Tags, tags) {
			t.Fatalf("%s has the tags %q (%d), want %q", name, list.Tags, a.Code, tags)
		}
		for tag, d := range h.tags {
			if a := m.b.ask("GET", "/v2/"+name+"/manifests/"+tag, "", "Accept", manifestType, "Accept", indexType); a.Code != http.StatusOK || digest.FromBytes(a.Body.Bytes()) != d {
				t.Fatalf("%s:%s: %d %s, want %s", name, tag, a.Code, a.Body, d)
			}
		}
		referrers := map[digest.Digest]int{}
		for _, d := range library {
			_, there := h.manifests[d.digest()]
			want(t, m.b.ask("HEAD", "/v2/"+name+"/manifests/"+d.digest().String(), "", "Accept", d.mediaType), there, http.StatusOK, http.StatusNotFound)
			if there && d.subject != "" {
				referrers[d.subject]++
			}
		}
		for subject, n := range referrers {
			var index struct{ Manifests []any }
			a := m.b.ask("GET", "/v2/"+name+"/referrers/"+subject.String(), "")
			if err := json.Unmarshal(a.Body.Bytes(), &index); err != nil || len(index.Manifests) != n {
				t.Fatalf("%s has the referrers %s of %s, want %d", name, a.Body, subject, n)
			}
		}
		for _, blob := range contents {
			want(t, m.b.ask("HEAD", "/v2/"+name+"/blobs/"+digest.FromString(blob).String(), ""), h.blobs[blob], http.StatusOK, http.StatusNotFound)
		}
	}
}

// TestModel does random requests to a registry, with runs of the rules and of the
// collector, restarts and crashes between them, and compares what it answers with a
// model. -rapid.checks says how often, and rapid finds the shortest that fails.
func TestModel(t *testing.T) {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if !given {
		if err := flag.Set("rapid.checks", strconv.Itoa(harness.Rounds("crash", 15, 500))); err != nil {
			t.Fatal(err)
		}
	}
	dir := scratch(t)
	rapid.Check(t, func(rt *rapid.T) {
		m := newModel(rt, t, dir)
		defer func() { m.b.end() }()
		if rapid.Bool().Draw(rt, "begun") { // or little of what is random has what it needs
			for name, h := range m.repos {
				for _, blob := range contents {
					if err := m.b.postBlob(name, blob); err != nil {
						rt.Fatal(err)
					}
					h.blobs[blob] = true
				}
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"upload": m.upload, "mount": m.mount, "push": m.push, "push more": m.push, "push yet more": m.push, "untag": m.untag,
			"delete": m.remove, "delete a blob": m.unlink, "rules": m.rules, "collect": m.collect, "restart": m.restart, "": m.check,
		})
		m.b.whole()
	})
}
