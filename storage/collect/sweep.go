package collect

import (
	"context"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage"
)

// Going is one thing that a sweep takes away, or would.
type Going struct {
	// What is "link", "manifest", "bytes", "kept" or "uploads"; the last stands for
	// Count uploads.
	What       string        `json:"what"`
	Repository string        `json:"repository,omitempty"`
	Namespace  string        `json:"namespace,omitempty"`
	Digest     digest.Digest `json:"digest,omitempty"`
	Count      int           `json:"count,omitempty"`
	Bytes      int64         `json:"bytes"`
	// Idle is for how long it has been so, in seconds.
	Idle float64 `json:"idle_seconds,omitempty"`
}

// pass is one sweep.
type pass struct {
	*Collector
	dry   func(Going) // nil for a real one
	freed Freed
}

// Sweep takes away what has been idle for longer than the lease, or, if dry is not
// nil, calls it with what would go and changes nothing. It returns what went. An
// error ends it; what it has done by then stays done. A second one waits for the
// first.
func (c *Collector) Sweep(ctx context.Context, dry func(Going)) (Freed, error) {
	select {
	case <-c.turn:
	case <-ctx.Done():
		return Freed{}, ctx.Err()
	}
	defer func() { c.turn <- struct{}{} }()
	p := &pass{Collector: c, dry: dry}
	if dry != nil {
		return p.freed, p.run(ctx)
	}
	began := time.Now().UTC()
	c.change(func(s *Status) { s.Began, s.Last, s.Error = began, Freed{}, "" })
	err := p.run(ctx)
	c.change(func(s *Status) {
		s.Ended = time.Now().UTC()
		if err != nil {
			s.Error = err.Error()
		}
	})
	if p.freed.Bytes() > 0 {
		c.options.Store.Settle()
	}
	searched := p.Status().Searched
	if f := p.freed; f != (Freed{Busy: f.Busy}) {
		c.options.Log.Info("a sweep has taken away what nothing needs", "links", f.Links, "manifests", f.Manifests,
			"swept", f.Swept.Count, "swept_bytes", f.Swept.Bytes, "unreferenced_bytes", f.Unreferenced.Bytes,
			"stray_bytes", f.Strays.Bytes, "uploads", f.Uploads.Count, "upload_bytes", f.Uploads.Bytes, "busy", f.Busy,
			"took", time.Since(began).Round(time.Millisecond))
	}
	if p.freed != (Freed{}) || err != nil || searched != p.saved {
		c.save() // what is worth a write
		p.saved = searched
	}
	return p.freed, err
}

func (p *pass) run(ctx context.Context) error {
	o := &p.options
	p.begin()
	if o.Ready != nil {
		if err := o.Ready(ctx); err != nil {
			return err
		}
	}
	// What a crash loses of the time makes things stay longer, so that to write it
	// down now and then is enough.
	const tenth = 10
	if now := o.Catalog.Uptime(); p.dry == nil && now-p.ticked > storage.Uptime(o.Lease/tenth) {
		if err := o.Catalog.Tick(ctx); err != nil {
			return fmt.Errorf("write down the time: %w", err)
		}
		p.ticked = now
	}
	before := o.Catalog.Uptime() - storage.Uptime(o.Lease)
	// What each leaves behind is idle for the next, and has been for as long.
	for _, step := range []func(context.Context, storage.Uptime) error{p.manifests, p.links, p.bytes} {
		if err := step(ctx, before); err != nil {
			return err
		}
	}
	if err := p.kept(ctx, o.Catalog.Uptime()-storage.Uptime(o.Quarantine)); err != nil {
		return err
	}
	if err := p.uploads(ctx); err != nil {
		return err
	}
	return p.search(ctx)
}

// count counts what has gone.
func (p *pass) count(f Freed) {
	p.freed.add(f)
	p.change(func(s *Status) {
		s.Last.add(f)
		s.Total.add(f)
	})
}

func (p *pass) tell(i storage.Idle, bytes int64) {
	p.dry(Going{
		What: string(i.Kind), Repository: i.Repository, Namespace: i.Namespace, Digest: i.Digest, Bytes: bytes,
		Idle: time.Duration(p.options.Catalog.Uptime() - i.Since).Seconds(),
	})
}

// atOnce is how much is taken away at a time: the more, the fewer syncs, and the
// longer those wait who push meanwhile. At the rate that is allowed it is what goes in
// a twentieth of a second.
func (p *pass) atOnce() int {
	const parts = 20
	return int(max(min(int64(p.options.Store.AtOnce()), p.options.Operations/parts), 1))
}

// each calls fn with what is idle, some at a time.
func (p *pass) each(ctx context.Context, kind storage.IdleKind, before storage.Uptime, fn func([]storage.Idle) error) error {
	for after := ""; ; {
		if p.dry == nil { // else nothing is lost
			if err := p.options.Catalog.Settled(ctx); err != nil {
				return err
			}
		}
		some, err := p.options.Catalog.IdleBefore(ctx, kind, before, after, p.atOnce())
		if err != nil {
			return fmt.Errorf("look what is idle: %w", err)
		}
		if len(some) == 0 {
			return nil
		}
		if err := fn(some); err != nil {
			return err
		}
		after = some[len(some)-1].Position
	}
}

func (p *pass) manifests(ctx context.Context, before storage.Uptime) error {
	return p.each(ctx, storage.IdleManifest, before, func(some []storage.Idle) error {
		for _, i := range some {
			if p.dry != nil {
				p.tell(i, 0)
				continue
			}
			if err := p.wait(ctx, 1, 0); err != nil {
				return err
			}
			gone, err := p.options.Catalog.DeleteIdle(ctx, i.Repository, i.Digest, before)
			if err != nil {
				return err
			}
			if !gone {
				p.count(Freed{Busy: 1})
				continue
			}
			p.count(Freed{Manifests: 1})
			p.options.Log.Info("a manifest went: what it lived by is gone", "repository", i.Repository, "digest", i.Digest)
		}
		return nil
	})
}

func (p *pass) links(ctx context.Context, before storage.Uptime) error {
	return p.each(ctx, storage.IdleLink, before, func(some []storage.Idle) error {
		of := make(map[string][]storage.Idle)
		for _, i := range some {
			if p.dry != nil {
				p.tell(i, i.Size)
				continue
			}
			of[i.Repository] = append(of[i.Repository], i)
		}
		for repository, links := range of {
			if err := p.wait(ctx, len(links), 0); err != nil {
				return err
			}
			gone, err := p.options.Catalog.UnlinkIdle(ctx, repository, links, before)
			if err != nil {
				return err
			}
			p.count(Freed{Links: len(gone), Busy: len(links) - len(gone)})
			p.options.Log.Debug("links went that nothing in their repository referred to", "repository", repository, "links", gone)
		}
		return nil
	})
}

func (p *pass) bytes(ctx context.Context, before storage.Uptime) error {
	keep := p.options.Quarantine > 0
	return p.each(ctx, storage.IdleBytes, before, func(some []storage.Idle) error {
		digests, known := digestsOf(some)
		if p.dry != nil {
			return p.wouldGo(ctx, some, digests, before)
		}
		if err := p.wait(ctx, len(digests), sum(some)); err != nil {
			return err
		}
		sizes, err := p.options.Catalog.Sweep(ctx, digests, before, keep)
		for d, size := range sizes {
			f := Freed{}
			f.Swept.add(1, size)
			if !keep {
				f.gone(known[d], size)
			}
			p.count(f)
			p.options.Log.Debug("bytes were swept that no repository needs", "digest", d, "bytes", size, "namespace", known[d], "quarantine", keep)
		}
		return err
	})
}

func (p *pass) wouldGo(ctx context.Context, some []storage.Idle, digests []digest.Digest, before storage.Uptime) error {
	loose, err := p.options.Catalog.Loose(ctx, digests, before)
	if err != nil {
		return err
	}
	going := make(map[digest.Digest]bool)
	for _, d := range loose {
		going[d] = true
	}
	for _, i := range some {
		if going[i.Digest] {
			p.tell(i, i.Size)
			going[i.Digest] = false // once, whoever had them
		}
	}
	return nil
}

func (p *pass) kept(ctx context.Context, before storage.Uptime) error {
	return p.each(ctx, storage.IdleKept, before, func(some []storage.Idle) error {
		digests, known := digestsOf(some)
		if p.dry != nil {
			for _, i := range some {
				p.tell(i, i.Size)
			}
			return nil
		}
		if err := p.wait(ctx, len(digests), sum(some)); err != nil {
			return err
		}
		sizes, err := p.options.Catalog.Empty(ctx, digests, before)
		for d, size := range sizes {
			f := Freed{}
			f.gone(known[d], size)
			p.count(f)
			p.options.Log.Debug("bytes went for good after their quarantine", "digest", d, "bytes", size, "namespace", known[d])
		}
		return err
	})
}

// gone counts bytes that are gone for good; of those that are nobody's, namespace is
// empty.
func (f *Freed) gone(namespace string, size int64) {
	if namespace == "" {
		f.Strays.add(1, size)
	} else {
		f.Unreferenced.add(1, size)
	}
}

// digestsOf are those of idle bytes, each once, and whose they were.
func digestsOf(some []storage.Idle) (digests []digest.Digest, namespaces map[digest.Digest]string) {
	namespaces = make(map[digest.Digest]string, len(some))
	for _, i := range some {
		if _, known := namespaces[i.Digest]; !known {
			digests = append(digests, i.Digest)
		}
		if namespaces[i.Digest] == "" {
			namespaces[i.Digest] = i.Namespace
		}
	}
	return digests, namespaces
}

func sum(some []storage.Idle) (bytes int64) {
	for _, i := range some {
		bytes += i.Size
	}
	return bytes
}

func (p *pass) uploads(ctx context.Context) error {
	if p.options.Uploads == nil {
		return nil
	}
	n, bytes, err := p.options.Uploads(ctx, p.options.Abandoned, p.dry != nil)
	switch {
	case n == 0:
	case p.dry != nil:
		p.dry(Going{What: "uploads", Count: n, Bytes: bytes})
	default:
		f := Freed{}
		f.Uploads.add(n, bytes)
		p.count(f)
	}
	return err
}

// search looks for bytes that nobody knows of: in the collector's quarantine after
// every start, since a crash may have come before they were noted, and in all of
// storage now and then.
func (p *pass) search(ctx context.Context) error {
	o := &p.options
	if p.dry != nil {
		return nil
	}
	if !p.searched {
		if err := p.adopt(ctx, true, o.Store.Collected); err != nil {
			return err
		}
		p.searched = true
	}
	last, now := p.Status().Searched, o.Catalog.Uptime()
	if last > 0 && last <= now && now-last < storage.Uptime(o.Search) {
		return nil
	}
	err := p.adopt(ctx, false, func(ctx context.Context, fn func(digest.Digest) error) error {
		return o.Store.Blobs(ctx, "", fn)
	})
	if err == nil {
		p.change(func(s *Status) { s.Searched = max(now, 1) })
	}
	return err
}

// adopt notes as idle those of the digests that nobody knows of.
func (p *pass) adopt(ctx context.Context, kept bool, all func(context.Context, func(digest.Digest) error) error) error {
	const atOnce = 1000
	var some []digest.Digest
	look := func() error {
		n, err := p.options.Catalog.Adopt(ctx, some, kept)
		if n > 0 {
			p.options.Log.Info("bytes were found that nobody knew of; they go once they have been idle for the lease", "blobs", n, "quarantine", kept)
		}
		some = some[:0]
		if err == nil {
			err = p.wait(ctx, n, 0)
		}
		return err
	}
	err := all(ctx, func(d digest.Digest) error {
		if some = append(some, d); len(some) < atOnce {
			return ctx.Err()
		}
		return look()
	})
	if err == nil && len(some) > 0 {
		err = look()
	}
	if err != nil {
		return fmt.Errorf("look for bytes that nobody knows of: %w", err)
	}
	return nil
}
