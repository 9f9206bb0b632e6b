package remote

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
)

// counted is a source whose content is counted and checked as it is read.
type counted struct {
	oras.ReadOnlyTarget
	done  func(bytes int64)
	bytes atomic.Int64
}

// Fetch reads content that has its digest to its end, or fails.
func (c *counted) Fetch(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	if err := d.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", d.Digest, err)
	}
	body, err := c.ReadOnlyTarget.Fetch(ctx, d)
	if err != nil {
		return nil, err
	}
	return &checked{
		ctx: ctx, body: body, want: d, sum: d.Digest.Algorithm().Hash(),
		read: func(n int) {
			c.bytes.Add(int64(n))
			if c.done != nil {
				c.done(int64(n))
			}
		},
	}, nil
}

const (
	// mostBreaks is how often in a row a source may break off without having sent
	// anything, before the copy ends.
	mostBreaks = 4
	firstPause = 200 * time.Millisecond
)

// checked reads content, goes on where the source broke off, and keeps the last
// bytes back if all of it has not its digest: nobody can take it for whole then.
type checked struct {
	ctx    context.Context
	body   io.ReadCloser
	want   ocispec.Descriptor
	sum    hash.Hash
	offset int64
	breaks int
	read   func(n int)
}

func (c *checked) Read(p []byte) (int, error) {
	if c.offset == c.want.Size {
		if c.want.Size == 0 && digest.NewDigest(c.want.Digest.Algorithm(), c.sum) != c.want.Digest {
			return 0, c.wrong()
		}
		return 0, io.EOF
	}
	if left := c.want.Size - c.offset; int64(len(p)) > left {
		p = p[:left]
	}
	for {
		n, err := c.body.Read(p)
		if n > 0 {
			c.breaks = 0
			return c.took(p[:n])
		}
		if err == nil {
			continue
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err := c.goOn(err); err != nil {
			return 0, err
		}
	}
}

func (c *checked) took(p []byte) (int, error) {
	c.sum.Write(p)
	c.offset += int64(len(p))
	if c.offset == c.want.Size {
		if digest.NewDigest(c.want.Digest.Algorithm(), c.sum) != c.want.Digest {
			return 0, c.wrong()
		}
		if n, _ := io.ReadFull(c.body, make([]byte, 1)); n > 0 {
			return 0, kinded{fmt.Errorf("%w: more than the %d bytes of %s were sent", ErrContent, c.want.Size, c.want.Digest), ErrContent}
		}
	}
	c.read(len(p))
	return len(p), nil
}

func (c *checked) wrong() error {
	got := digest.NewDigest(c.want.Digest.Algorithm(), c.sum)
	return kinded{fmt.Errorf("%w: %s was sent for %s", ErrContent, got, c.want.Digest), ErrContent}
}

// goOn asks for the rest of what broke off with an error, or returns that.
func (c *checked) goOn(broke error) error {
	broke = kinded{fmt.Errorf("%s broke off after %d of %d bytes: %w", c.want.Digest, c.offset, c.want.Size, broke), ErrUnavailable}
	seeker, ok := c.body.(io.Seeker)
	if !ok || c.breaks == mostBreaks {
		return broke
	}
	timer := time.NewTimer(firstPause << c.breaks)
	defer timer.Stop()
	c.breaks++
	select {
	case <-c.ctx.Done():
		return c.ctx.Err()
	case <-timer.C:
	}
	// To where it is anyway it would not ask again.
	if _, err := seeker.Seek(0, io.SeekEnd); err != nil {
		return broke
	}
	if _, err := seeker.Seek(c.offset, io.SeekStart); err != nil {
		return c.goOn(broke)
	}
	return nil
}

func (c *checked) Close() error { return c.body.Close() }
