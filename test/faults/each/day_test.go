package each

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berth-oci/berth/catalog/rules"
	"github.com/berth-oci/berth/storage"
	"github.com/berth-oci/berth/storage/collect"
)

// quota is alice's, in bytes.
const quota = 256 << 10

// policy is what the rules of the day are.
var policy = rules.Policy{
	Default:    rules.Set{Name: "default", Immutable: []string{"frozen"}},
	Namespaces: map[string]rules.Set{"carol": {Name: "carol", Untagged: time.Hour, Tags: []rules.TagRule{{Match: []string{"ci-*"}, KeepLast: 1}}}},
}

const (
	app, other, bobs, carols = "alice/app", "alice/other", "bob/deep/app", "carol/app"
	manifestType             = v1.MediaTypeImageManifest
	indexType                = v1.MediaTypeImageIndex
)

// image is a unikernel of one ROM.
func image(name string) (manifest string, blobs []string) {
	config := fmt.Sprintf(`{"created":"2026-01-02T03:04:05Z","os":"kraftcloud","architecture":"x86_64","config":{"Cmd":[%q]}}`, name)
	rom := "rom of " + name
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},`+
		`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d,"annotations":{"org.unikraft.kernel.rom":"/rom"}}]}`,
		manifestType, digest.FromString(config), len(config), digest.FromString(rom), len(rom)), []string{config, rom}
}

func descriptor(mediaType, content string) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, mediaType, digest.FromString(content), len(content))
}

func indexOf(mediaType string, contents ...string) string {
	all := make([]string, len(contents))
	for i, c := range contents {
		all[i] = descriptor(mediaType, c)
	}
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, indexType, strings.Join(all, ","))
}

func referrerOf(name, mediaType, subject string) string {
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"artifactType":"text/%s","config":%s,"layers":[%s],"subject":%s}`,
		manifestType, name, descriptor("application/vnd.oci.empty.v1+json", "{}"), descriptor("application/vnd.oci.empty.v1+json", "{}"), descriptor(mediaType, subject))
}

// step is one thing that a client or the registry does. A client that got an error
// asks again; then what has happened may be answered as if it had been before.
type step struct {
	name string
	// before, if it is set, is what happens to the disk before it.
	before func(d *disk)
	do     func(b *berth, again bool) error
	// unwell says that after it something is missing, until a later step.
	unwell bool
	// parts says that a part of it may have happened.
	parts bool
	// exact says that after it exactly what is needed is stored.
	exact bool
}

// wants returns the error of an answer that has none of the statuses.
func (a answer) wants(statuses ...int) error {
	if slices.Contains(statuses, a.Code) {
		return nil
	}
	return &refusal{a}
}

// refusal is an answer that was not asked for.
type refusal struct{ answer answer }

func (r *refusal) Error() string {
	return fmt.Sprintf("%s: %d %s", r.answer.what, r.answer.Code, r.answer.Body)
}

func (b *berth) postBlob(repository, content string) error {
	return b.ask("POST", "/v2/"+repository+"/blobs/uploads/?digest="+digest.FromString(content).String(), content).wants(http.StatusCreated)
}

func (b *berth) putManifest(repository, reference, mediaType, content string) error {
	return b.ask("PUT", "/v2/"+repository+"/manifests/"+reference, content, "Content-Type", mediaType).wants(http.StatusCreated)
}

// upload begins an upload, and sends it in so many chunks before the last request.
func (b *berth) upload(repository, content string, chunks int) error {
	a := b.ask("POST", "/v2/"+repository+"/blobs/uploads/", "")
	if err := a.wants(http.StatusAccepted); err != nil {
		return err
	}
	rest := content
	for i := range chunks {
		piece := rest[:len(rest)/(chunks+1-i)]
		rest = rest[len(piece):]
		if a = b.ask("PATCH", a.Header().Get("Location"), piece, "Content-Type", "application/octet-stream"); a.Code != http.StatusAccepted {
			return &refusal{a}
		}
	}
	location := a.Header().Get("Location")
	separator := "?"
	if strings.Contains(location, "?") {
		separator = "&"
	}
	return b.ask("PUT", location+separator+"digest="+digest.FromString(content).String(), rest).wants(http.StatusCreated)
}

func blobs(repository, name string) []step {
	_, all := image(name)
	var steps []step
	for i, blob := range all {
		steps = append(steps, step{name: fmt.Sprintf("blob %d of %s in %s", i, name, repository), do: func(b *berth, _ bool) error { return b.postBlob(repository, blob) }})
	}
	return steps
}

func put(name, repository, reference, mediaType, content string) step {
	return step{name: name, do: func(b *berth, _ bool) error { return b.putManifest(repository, reference, mediaType, content) }}
}

func remove(name, target string, status int) step {
	return step{name: name, do: func(b *berth, again bool) error {
		a := b.ask("DELETE", target, "")
		if again && a.Code == http.StatusNotFound {
			return nil
		}
		return a.wants(status)
	}}
}

// flip has a stored blob be damaged.
func flip(content string) func(*disk) {
	d := digest.FromString(content)
	return func(k *disk) {
		p := "/docker/registry/v2/blobs/sha256/" + d.Encoded()[:2] + "/" + d.Encoded() + "/data"
		wrong := []byte(content)
		wrong[len(wrong)/2] ^= 1
		k.set(p, wrong)
	}
}

// day is everything that is done, in an order in which each has something to do.
func day() (all []step) {
	a, blobsOfA := image("a")
	bImage, blobsOfB := image("b")
	c, _ := image("c")
	multi := indexOf(manifestType, a, bImage)
	nested := indexOf(indexType, multi)
	signature := referrerOf("a", manifestType, a)
	orphan := referrerOf("orphan", manifestType, "what never came")
	dg := func(content string) string { return digest.FromString(content).String() }
	long := digest.SHA512.FromString
	all = append(all, blobs(app, "a")...)
	all = append(all,
		put("push", app, "v1", manifestType, a),
		put("push again", app, "v1", manifestType, a),
		step{name: "upload in one PUT", do: func(b *berth, _ bool) error { return b.upload(app, blobsOfB[0], 0) }},
		step{name: "upload in chunks", do: func(b *berth, _ bool) error { return b.upload(app, blobsOfB[1], 2) }},
		step{name: "upload what is there", do: func(b *berth, _ bool) error { return b.upload(app, blobsOfB[1], 1) }},
		put("push by digest with tags", app, dg(bImage)+"?tag=v2&tag=v3&tag=frozen", manifestType, bImage),
		put("push an index", app, "multi", indexType, multi),
		put("push an index of the index", app, "nested", indexType, nested),
		step{name: "upload the empty blob", do: func(b *berth, _ bool) error { return b.postBlob(app, "{}") }},
		put("push a referrer", app, dg(signature), manifestType, signature),
		put("push a referrer of nothing", app, dg(orphan), manifestType, orphan),
		step{name: "mount", do: func(b *berth, _ bool) error {
			return b.ask("POST", "/v2/"+bobs+"/blobs/uploads/?from="+app+"&mount="+dg(blobsOfA[0]), "").wants(http.StatusCreated)
		}},
		step{name: "mount without a source named", do: func(b *berth, _ bool) error {
			return b.ask("POST", "/v2/"+bobs+"/blobs/uploads/?mount="+dg(blobsOfA[1]), "").wants(http.StatusCreated)
		}},
		put("push what was mounted", bobs, "latest", manifestType, a),
		// Of its two links that by the canonical digest may be there alone.
		step{name: "blob by another digest", parts: true, do: func(b *berth, _ bool) error {
			return b.ask("POST", "/v2/"+other+"/blobs/uploads/?digest="+long(blobsOfB[0]).String(), blobsOfB[0]).wants(http.StatusCreated)
		}},
	)
	all = append(all, blobs(other, "b")...)
	all = append(all,
		put("push by another digest", other, long(bImage).String()+"?tag=long", manifestType, bImage),
		put("re-tag", app, "v1", manifestType, bImage),
		step{name: "tag race", parts: true, do: func(b *berth, _ bool) error { return b.race(app, "v1", a, bImage) }},
		put("tag again", app, "v2", manifestType, a),
		step{name: "push over an immutable tag", do: func(b *berth, _ bool) error {
			return b.ask("PUT", "/v2/"+app+"/manifests/frozen", a, "Content-Type", manifestType).wants(http.StatusPreconditionFailed)
		}},
		step{name: "more than the quota", do: func(b *berth, _ bool) error {
			large := strings.Repeat("x", 2*quota)
			return b.ask("POST", "/v2/"+app+"/blobs/uploads/?digest="+dg(large), large).wants(http.StatusForbidden)
		}},
		step{name: "cancel an upload", do: func(b *berth, _ bool) error {
			a := b.ask("POST", "/v2/"+app+"/blobs/uploads/", "")
			if err := a.wants(http.StatusAccepted); err != nil {
				return err
			}
			return b.ask("DELETE", a.Header().Get("Location"), "").wants(http.StatusNoContent)
		}},
		remove("untag", "/v2/"+app+"/manifests/v2", http.StatusAccepted),
		remove("delete the outer index", "/v2/"+app+"/manifests/"+dg(nested), http.StatusAccepted),
		remove("delete the index", "/v2/"+app+"/manifests/"+dg(multi), http.StatusAccepted),
		remove("delete a subject", "/v2/"+bobs+"/manifests/"+dg(a), http.StatusAccepted),
		remove("delete a blob", "/v2/"+bobs+"/blobs/"+dg(blobsOfA[1]), http.StatusAccepted),
		collection("collect"),
	)
	all = append(all, blobs(carols, "a")...)
	all = append(all, blobs(carols, "c")...)
	all = append(all,
		put("push for the rules", carols, "ci-1", manifestType, a),
		put("push more for the rules", carols, "ci-2", manifestType, c),
		step{name: "upload the empty blob for the rules", do: func(b *berth, _ bool) error { return b.postBlob(carols, "{}") }},
		put("push a referrer for the rules", carols, dg(orphan), manifestType, orphan),
		step{name: "rules", do: func(b *berth, _ bool) error { return b.rules() }},
	)
	return append(all, repairs(blobsOfB[1], bImage)...)
}

// repairs damage a blob and a manifest, have it found, and heal it.
func repairs(blob, manifest string) []step {
	d := digest.FromString(blob)
	return []step{
		{name: "scrub", before: flip(blob), unwell: true, parts: true, do: func(b *berth, again bool) error {
			_, err := b.store.Examine(context.Background(), d, storage.ByScrub)
			if errors.Is(err, storage.ErrDamaged) || again && errors.Is(err, storage.ErrNotFound) {
				err = nil
			} else if err == nil {
				err = errors.New("the damage is not found")
			}
			b.idle(20)
			return err
		}},
		{name: "heal", parts: true, do: func(b *berth, _ bool) error {
			err := b.postBlob(other, blob)
			b.idle(20)
			return err
		}},
		{name: "pull a damaged manifest", before: flip(manifest), unwell: true, parts: true, do: func(b *berth, again bool) error {
			a := b.ask("GET", "/v2/"+other+"/manifests/long", "", "Accept", manifestType)
			b.idle(20)
			return a.wants(http.StatusNotFound)
		}},
		{name: "heal the manifest", parts: true, do: func(b *berth, _ bool) error {
			err := b.putManifest(other, digest.SHA512.FromString(manifest).String()+"?tag=long", manifestType, manifest)
			b.idle(20)
			return err
		}},
		remove("delete everything", "/api/v2.0/projects/alice/repositories/other", http.StatusOK),
		collection("collect again"),
		{name: "restart", do: func(b *berth, again bool) error { return b.restart() }},
		put("push after all", app, "last", manifestType, manifest),
	}
}

// collection is one that takes away all that nothing needs, at once and for good.
func collection(name string) step {
	return step{name: name, parts: true, exact: true, do: func(b *berth, _ bool) error {
		c := collect.New(collect.Options{
			Catalog: b.catalog, Store: b.store, Lease: 1, Interval: time.Hour, Search: 1, Abandoned: time.Hour,
			Rate: 1 << 40, Operations: 1 << 40, State: b.file + ".collect", Log: slog.New(slog.DiscardHandler),
		})
		const sweeps = 5 // what one has taken away, others needed
		for range sweeps {
			if _, err := c.Sweep(context.Background(), nil); err != nil {
				return err
			}
		}
		return nil
	}}
}

// rules applies the rules, in some days.
func (b *berth) rules() error {
	var failed []error
	_, err := rules.Run(context.Background(), rules.Options{
		Catalog: b.catalog, Policy: policy, Now: func() time.Time { return time.Now().AddDate(0, 0, 9) },
		Removed: func(rules.Removal) {}, Failed: func(_ string, err error) { failed = append(failed, err) },
	})
	return errors.Join(append(failed, err)...)
}

// race has two clients set a tag, of which the second comes while the first has
// the repository.
func (b *berth) race(repository, tag, first, second string) error {
	prepared, acquired := newSignal(), newSignal()
	done := make(chan error, 1)
	var acquires atomic.Int32
	b.faults.watch(func(name string) {
		switch {
		case name == "storage.PutContent" && prepared.give(): // the first has the repository
			<-acquired.given
		case name == "index.Acquire" && acquires.Add(1) == 2:
			acquired.give()
		}
	})
	go func() {
		done <- b.putManifest(repository, tag, manifestType, first)
		prepared.give() // or it has failed before
	}()
	<-prepared.given
	err := b.putManifest(repository, tag, manifestType, second)
	acquired.give() // or it has failed before
	return errors.Join(<-done, err)
}

// signal is given once.
type signal struct {
	once  sync.Once
	given chan struct{}
}

func newSignal() *signal { return &signal{given: make(chan struct{})} }

// give reports whether it was not given before.
func (s *signal) give() (first bool) {
	s.once.Do(func() {
		close(s.given)
		first = true
	})
	return first
}
