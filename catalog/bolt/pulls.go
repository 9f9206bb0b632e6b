package bolt

import (
	"context"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/index"
)

const day = 24 * time.Hour

// AddPulls implements index.Feed.
func (i *Index) AddPulls(_ context.Context, pulls []index.Pulls) error {
	return i.update("upkeep", func(s *session) error {
		for _, p := range pulls {
			r, err := s.open(p.Repository)
			if err != nil {
				return err
			}
			d := r.canonical(p.Digest)
			if r.known.number == 0 || !r.has(d) {
				continue // gone since
			}
			was, err := r.pulls(d)
			if err != nil {
				return err
			}
			e := newEncoder()
			e.int(max(was.Count, 0) + p.Count)
			e.int(int64(p.Last.Truncate(day).Sub(time.Unix(0, 0)) / day))
			if err := r.data().Put(r.by(kindPulled, d), e.b); err != nil {
				return err
			}
		}
		return nil
	})
}

// pulls are those of a manifest, by its canonical digest.
func (r *repoTx) pulls(d digest.Digest) (index.Pulls, error) {
	p := index.Pulls{Repository: r.repository, Digest: d}
	value := r.data().Get(r.by(kindPulled, d))
	if value == nil {
		return p, nil
	}
	dec := newDecoder(value)
	p.Count = dec.int()
	p.Last = time.Unix(0, 0).UTC().Add(time.Duration(dec.int()) * day)
	return p, dec.err
}

// Pulls implements index.Feed.
func (i *Index) Pulls(ctx context.Context, repository string, d digest.Digest) (p index.Pulls, err error) {
	err = i.read(ctx, "feed", repository, func(r *repoTx) error {
		p, err = r.pulls(r.canonical(d))
		return err
	})
	return p, err
}
