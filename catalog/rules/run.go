package rules

import (
	"context"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog"
	"github.com/berth-oci/berth/storage/reference"
)

// Options say what to run.
type Options struct {
	Catalog *catalog.Catalog
	Policy  Policy
	// Namespace is the only one that is looked at, "" for all.
	Namespace string
	// DryRun removes nothing.
	DryRun bool
	// Now is the time by which ages are told, nil for [time.Now].
	Now func() time.Time
	// Removed is told of each tag and manifest that has gone, or would, and Failed
	// of each repository that could not be done. They are called one at a time.
	Removed func(Removal)
	Failed  func(repository string, err error)
}

// Summary counts what came of a run.
type Summary struct {
	DryRun       bool `json:"dry_run"`
	Repositories int  `json:"repositories"` // that were looked at
	Tags         int  `json:"tags"`         // that went
	Manifests    int  `json:"manifests"`    // that went
	Failed       int  `json:"failed"`       // repositories that could not be done
}

// Run applies the rules to every repository, one after the other. A repository
// that cannot be done does not keep it from the others. An error means that it did
// not come to its end.
func Run(ctx context.Context, o Options) (Summary, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	summary := Summary{DryRun: o.DryRun}
	var within []string
	if o.Namespace != "" {
		within = []string{o.Namespace}
	}
	const batch = 1000
	for after := ""; ; {
		names, err := o.Catalog.Repositories(ctx, within, after, batch)
		if err != nil || len(names) == 0 {
			return summary, err
		}
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				return summary, err
			}
			o.one(ctx, name, &summary)
		}
		after = names[len(names)-1]
	}
}

func (o Options) one(ctx context.Context, name string, summary *Summary) {
	if o.Namespace != "" && reference.Namespace(name) != o.Namespace || !o.Policy.Of(name).removes() {
		return
	}
	summary.Repositories++
	plan, err := o.apply(ctx, name)
	if err != nil {
		summary.Failed++
		o.Failed(name, err)
		return
	}
	for _, all := range [][]Removal{plan.Untag, plan.Delete} {
		for _, r := range all {
			o.Removed(r)
		}
	}
	summary.Tags += len(plan.Untag)
	summary.Manifests += len(plan.Delete)
}

// apply plans before it takes the repository, since mostly there is nothing to do,
// and again once it has it.
func (o Options) apply(ctx context.Context, name string) (Plan, error) {
	set := o.Policy.Of(name)
	contents, err := o.Catalog.Contents(ctx, name)
	if err != nil {
		return Plan{}, fmt.Errorf("read %s: %w", name, err)
	}
	plan := set.Plan(name, contents, o.Now())
	if o.DryRun || plan.Empty() {
		return plan, nil
	}
	err = o.Catalog.Prune(ctx, name, func(c catalog.Contents) (untag []string, remove []digest.Digest) {
		plan = set.Plan(name, c, o.Now())
		for _, r := range plan.Untag {
			untag = append(untag, r.Tag)
		}
		for _, r := range plan.Delete {
			remove = append(remove, r.Digest)
		}
		return untag, remove
	})
	return plan, err
}
