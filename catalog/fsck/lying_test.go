package fsck

import (
	"context"
	"io"

	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage"
)

// stored lets Describe read a repository.
type stored struct{ storage.Repository }

func (s stored) Manifest(ctx context.Context, d digest.Digest) (image.Manifest, error) {
	content, modified, err := s.Repository.Manifest(ctx, d)
	return image.Manifest{Digest: d, Bytes: content, Modified: modified}, err
}

func (s stored) Open(ctx context.Context, d digest.Digest) (io.ReadSeekCloser, error) {
	return s.Repository.Open(ctx, d)
}

// lying is an index whose counters are wrong.
type lying struct {
	index.Index
	stats func(*index.Stats)
	usage func(*index.Usage)
	list  func([]index.Entry) []index.Entry
}

func (l lying) Stats(ctx context.Context) (index.Stats, error) {
	s, err := l.Index.Stats(ctx)
	if l.stats != nil {
		l.stats(&s)
	}
	return s, err
}

func (l lying) Usage(ctx context.Context, namespace string) (index.Usage, error) {
	u, err := l.Index.Usage(ctx, namespace)
	if l.usage != nil {
		l.usage(&u)
	}
	return u, err
}

func (l lying) List(ctx context.Context, q index.Query, after index.Cursor, n int) ([]index.Entry, index.Cursor, error) {
	entries, next, err := l.Index.List(ctx, q, after, n)
	if l.list != nil {
		entries = l.list(entries)
	}
	return entries, next, err
}

// TestCounters checks that wrong counters and lists are found, which no repair of
// a repository mends.
func TestCounters(t *testing.T) {
	for name, test := range map[string]struct {
		lying lying
		want  Kind
	}{
		"images":       {lying{stats: func(s *index.Stats) { s.Unikernels++ }}, IndexCount},
		"ROMs":         {lying{stats: func(s *index.Stats) { s.ROMs-- }}, IndexCount},
		"manifests":    {lying{stats: func(s *index.Stats) { s.Manifests++ }}, IndexCount},
		"repositories": {lying{stats: func(s *index.Stats) { s.Repositories-- }}, IndexCount},
		"with images":  {lying{stats: func(s *index.Stats) { s.ImageRepositories++ }}, IndexCount},
		"quota":        {lying{usage: func(u *index.Usage) { u.Bytes++ }}, IndexQuota},
		"quota images": {lying{usage: func(u *index.Usage) { u.Images-- }}, IndexQuota},
		"one twice": {lying{list: func(e []index.Entry) []index.Entry {
			return append(e, e[:min(len(e), 1)]...)
		}}, IndexList},
		"one left out": {lying{list: func(e []index.Entry) []index.Entry { return e[min(len(e), 1):] }}, IndexList},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRegistry(t)
			test.lying.Index = r.Index
			for _, repair := range []bool{false, true} {
				found, summary := r.check(test.lying, repair, false)
				if summary.Kinds[test.want] == 0 || summary.Index == 0 || summary.Storage != 0 {
					t.Errorf("repair %v: found %+v, %+v", repair, found, summary)
				}
			}
		})
	}
}
