package indextest

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/index"
)

// Tick implements index.Idler.
func (f *Faulty) Tick(ctx context.Context) error {
	return f.do("Tick", func() error { return f.Index.Tick(ctx) })
}

// IdleBefore implements index.Idler.
func (f *Faulty) IdleBefore(ctx context.Context, kind index.IdleKind, before index.Uptime, after string, n int) ([]index.Idle, error) {
	return get(f, "IdleBefore", func() ([]index.Idle, error) { return f.Index.IdleBefore(ctx, kind, before, after, n) })
}

// IsIdle implements index.Idler.
func (f *Faulty) IsIdle(ctx context.Context, repository string, d digest.Digest, before index.Uptime) (bool, error) {
	return get(f, "IsIdle", func() (bool, error) { return f.Index.IsIdle(ctx, repository, d, before) })
}

// Renew implements index.Idler.
func (f *Faulty) Renew(ctx context.Context, repository string, d digest.Digest) error {
	return f.do("Renew", func() error { return f.Index.Renew(ctx, repository, d) })
}

// UnlinkIdle implements index.Idler.
func (f *Faulty) UnlinkIdle(ctx context.Context, l index.Lease, links []digest.Digest, before index.Uptime) ([]digest.Digest, error) {
	return get(f, "UnlinkIdle", func() ([]digest.Digest, error) { return f.Index.UnlinkIdle(ctx, l, links, before) })
}

// Loose implements index.Idler.
func (f *Faulty) Loose(ctx context.Context, bytes []digest.Digest, before index.Uptime, kept bool) (loose, held []digest.Digest, err error) {
	err = f.do("Loose", func() (err error) {
		loose, held, err = f.Index.Loose(ctx, bytes, before, kept)
		return err
	})
	return loose, held, err
}

// Dispose implements index.Idler.
func (f *Faulty) Dispose(ctx context.Context, bytes []digest.Digest, kept bool) ([]digest.Digest, error) {
	return get(f, "Dispose", func() ([]digest.Digest, error) { return f.Index.Dispose(ctx, bytes, kept) })
}

// Emptied implements index.Idler.
func (f *Faulty) Emptied(ctx context.Context, bytes []digest.Digest, before index.Uptime) error {
	return f.do("Emptied", func() error { return f.Index.Emptied(ctx, bytes, before) })
}

// Strays implements index.Idler.
func (f *Faulty) Strays(ctx context.Context, stored []digest.Digest, kept bool) ([]digest.Digest, error) {
	return get(f, "Strays", func() ([]digest.Digest, error) { return f.Index.Strays(ctx, stored, kept) })
}

// Adopt implements index.Idler.
func (f *Faulty) Adopt(ctx context.Context, strays map[digest.Digest]int64, kept bool) error {
	return f.do("Adopt", func() error { return f.Index.Adopt(ctx, strays, kept) })
}

// Left implements index.Idler.
func (f *Faulty) Left(ctx context.Context, namespace string, d digest.Digest) (bool, error) {
	return get(f, "Left", func() (bool, error) { return f.Index.Left(ctx, namespace, d) })
}

// Kept implements index.Idler.
func (f *Faulty) Kept(ctx context.Context) (int64, error) {
	return get(f, "Kept", func() (int64, error) { return f.Index.Kept(ctx) })
}
