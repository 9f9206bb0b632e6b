package index

import (
	"context"
	"iter"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
)

// ReferrersOf goes through all manifests of a repository that have a subject, by any
// of its digests, in the order of their own, a batch of [Reader] at a time: what
// comes or goes meanwhile may be among them or not. An error is the last.
func ReferrersOf(ctx context.Context, x Reader, repository string, subject digest.Digest) iter.Seq2[image.Referrer, error] {
	const batch = 1000
	return func(yield func(image.Referrer, error) bool) {
		for after := digest.Digest(""); ; {
			some, next, err := x.Referrers(ctx, repository, subject, "", after, batch)
			if err != nil {
				yield(image.Referrer{}, err)
				return
			}
			for _, r := range some {
				if !yield(r, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			after = next
		}
	}
}
