package catalog

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
)

// Contents is what a repository holds, with the times that rules go by. Digests
// are canonical, and everything is sorted by name or digest.
type Contents struct {
	Tags      []Tag
	Manifests []Manifest
}

// Tag is a tag of a repository.
type Tag struct {
	Name   string
	Digest digest.Digest
	// Moved is when the tag was last set, also to what it pointed to already.
	Moved time.Time
}

// Manifest is a manifest of a repository.
type Manifest struct {
	Digest digest.Digest
	// Pushed is when the manifest was last pushed here, or lost a tag, whichever
	// came later. It is zero for a manifest that has a tag and no children, which
	// is not looked up, and for one that has gone meanwhile.
	Pushed time.Time
	// Children are the stored manifests that it refers to, as an index.
	Children []digest.Digest
	// Subject is the stored manifest that it refers to as its subject, or "".
	Subject digest.Digest
}

// Contents reads what a repository holds, from the index what and from storage
// since when. Changes may happen meanwhile.
func (c *Catalog) Contents(ctx context.Context, repository string) (Contents, error) {
	state, err := c.index.State(ctx, repository)
	if err != nil {
		return Contents{}, err
	}
	var all Contents
	tagged := make(map[digest.Digest]bool)
	for _, tag := range slices.Sorted(maps.Keys(state.Tags)) {
		target := state.Tags[tag]
		if canonical, ok := state.Aliases[target]; ok {
			target = canonical
		}
		tagged[target] = true
		all.Tags = append(all.Tags, Tag{Name: tag, Digest: target})
	}
	subjects := make(map[digest.Digest]digest.Digest)
	for _, d := range slices.Sorted(maps.Keys(state.Manifests)) {
		children, err := c.index.Children(ctx, repository, d)
		if err != nil {
			return Contents{}, err
		}
		all.Manifests = append(all.Manifests, Manifest{Digest: d, Children: children})
		for r, err := range index.ReferrersOf(ctx, c, repository, d) {
			if err != nil {
				return Contents{}, err
			}
			subjects[r.Digest] = d
		}
	}
	for i := range all.Manifests {
		all.Manifests[i].Subject = subjects[all.Manifests[i].Digest]
	}
	return all, c.times(ctx, repository, &all, tagged)
}

// timesAtOnce is how many times are asked for at once: what takes time is waiting
// for storage that is far away.
const timesAtOnce = 16

// times looks up since when everything is there. What has gone meanwhile keeps no
// time.
func (c *Catalog) times(ctx context.Context, repository string, all *Contents, tagged map[digest.Digest]bool) error {
	stored := c.store.Repository(repository)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(timesAtOnce)
	look := func(at *time.Time, when func() (time.Time, error)) {
		g.Go(func() error {
			found, err := when()
			if err == nil {
				*at = found
			} else if notFound(err) {
				err = nil
			}
			return err
		})
	}
	for i := range all.Tags {
		t := &all.Tags[i]
		look(&t.Moved, func() (time.Time, error) { return c.TagTime(ctx, repository, t.Name) })
	}
	for i := range all.Manifests {
		m := &all.Manifests[i]
		if tagged[m.Digest] && len(m.Children) == 0 {
			continue
		}
		look(&m.Pushed, func() (time.Time, error) { return stored.ManifestTime(ctx, m.Digest) })
	}
	return g.Wait()
}

// Prune takes a repository, has plan choose from what it holds, and removes the
// tags and manifests that were chosen as one change. Manifests are canonical
// digests, each before what it refers to; a tag that points to one of them has to
// be chosen with it. Choosing nothing is no change.
func (c *Catalog) Prune(ctx context.Context, repository string, plan func(Contents) (untag []string, remove []digest.Digest)) error {
	tx, err := c.Begin(ctx, repository)
	if err != nil {
		return err
	}
	defer tx.Close()
	all, err := c.Contents(ctx, repository)
	if err != nil {
		return err
	}
	var intent storage.Intent
	if intent.Untag, intent.Delete = plan(all); len(intent.Untag)+len(intent.Delete) == 0 {
		return nil
	}
	intent.Touch = losing(all.Tags, intent)
	if intent, err = tx.withAliases(ctx, intent); err != nil {
		return err
	}
	return tx.remove(ctx, intent)
}

// losing are the manifests that lose a tag by an intent, and stay.
func losing(tags []Tag, intent storage.Intent) (all []digest.Digest) {
	seen, untagged := make(map[digest.Digest]bool), make(map[string]bool)
	for _, d := range intent.Delete {
		seen[d] = true
	}
	for _, tag := range intent.Untag {
		untagged[tag] = true
	}
	for _, t := range tags {
		if untagged[t.Name] && !seen[t.Digest] {
			seen[t.Digest] = true
			all = append(all, t.Digest)
		}
	}
	return all
}
