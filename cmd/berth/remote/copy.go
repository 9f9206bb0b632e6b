package remote

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
)

// CopyOptions are those of [Client.Copy].
type CopyOptions struct {
	// Jobs is how many blobs are copied at a time; 0 means 4.
	Jobs int
	// Found is told of bytes that belong to the image as they become known, Done of
	// those that are at the destination. Both are called concurrently, and may be
	// nil.
	Found, Done func(bytes int64)
}

// Copied is what a copy did. Manifests and blobs are counted alike.
type Copied struct {
	From   string        `json:"from"`
	To     string        `json:"to"`
	Digest digest.Digest `json:"digest"`
	// Copied were carried over, Mounted were not, for the registry had them in the
	// other repository, and There were at the destination before. What belongs to a
	// manifest that was there is not counted.
	Copied  int64 `json:"copied"`
	Mounted int64 `json:"mounted"`
	There   int64 `json:"there"`
	// Bytes are those that were carried over.
	Bytes int64 `json:"bytes"`
}

// Copy copies an image with everything below it. Where the destination has no tag
// it gets that of the source. Nobody sees the image there before it is whole: its
// tag comes last. What was copied before is not copied again, so that a copy that
// was cut off goes on where it was; a source that breaks off in a blob is asked for
// the rest. Bytes that do not have their digest are not passed on: the error is
// [ErrContent] then.
func (c *Client) Copy(ctx context.Context, from, to Place, o CopyOptions) (Copied, error) {
	if to.Digest != "" {
		return Copied{}, fmt.Errorf("%w: %s: the digest of a copy is that of the image; name a tag, or none", ErrUsage, to)
	}
	source, err := c.source(&from)
	if err != nil {
		return Copied{}, err
	}
	if to.Tag == "" {
		to.Tag = from.Tag
	}
	target, err := c.target(to)
	if err != nil {
		return Copied{}, err
	}
	job := &copying{from: from, to: to, source: &counted{ReadOnlyTarget: source, done: o.Done}, options: o, seen: map[digest.Digest]bool{}}
	reference := to.Tag
	if reference == "" {
		reference = from.reference() // the digest, or latest
	}
	root, err := oras.Copy(ctx, job.source, from.reference(), target, reference, job.graph())
	if err != nil {
		what := to
		var origin *oras.CopyError
		if !errors.As(err, &origin) || origin.Origin == oras.CopyErrorOriginSource {
			what = from
		} else if errors.As(err, &origin) {
			err = origin.Err
		}
		return Copied{}, explained(err, what.String())
	}
	done := Copied{
		From: from.String(), To: to.String(), Digest: root.Digest, Bytes: job.source.bytes.Load(),
		Copied: job.copied.Load(), Mounted: job.mounted.Load(), There: job.there.Load(),
	}
	return done, nil
}

// copying is a copy that goes on.
type copying struct {
	from, to               Place
	source                 *counted
	options                CopyOptions
	copied, mounted, there atomic.Int64

	mu   sync.Mutex
	seen map[digest.Digest]bool // guarded by mu
}

// graph are the options of the copy itself.
func (c *copying) graph() oras.CopyOptions {
	o := oras.CopyOptions{CopyGraphOptions: oras.CopyGraphOptions{Concurrency: c.options.Jobs}}
	if o.Concurrency <= 0 {
		o.Concurrency = 4
	}
	count := func(n *atomic.Int64, done bool) func(context.Context, ocispec.Descriptor) error {
		return func(_ context.Context, d ocispec.Descriptor) error {
			n.Add(1)
			if done && c.options.Done != nil {
				c.options.Done(d.Size)
			}
			return nil
		}
	}
	o.OnCopySkipped, o.OnMounted, o.PostCopy = count(&c.there, true), count(&c.mounted, true), count(&c.copied, false)
	o.FindSuccessors = c.successors
	if c.from.Folder == "" && c.to.Folder == "" && c.from.Host == c.to.Host && c.from.Repository != c.to.Repository {
		o.MountFrom = func(context.Context, ocispec.Descriptor) ([]string, error) { return []string{c.from.Repository}, nil }
	}
	return o
}

// successors are what a manifest refers to. An index may say wrong sizes of its
// manifests: kraft does, where it adds one to those that are there. Their bytes have
// their digests all the same.
func (c *copying) successors(ctx context.Context, fetcher content.Fetcher, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	all, err := content.Successors(ctx, fetcher, d)
	if err != nil {
		return nil, err
	}
	c.found(d)
	for i := range all {
		if isIndex(d.MediaType) {
			stored, err := c.source.Resolve(ctx, all[i].Digest.String())
			if err != nil {
				return nil, err
			}
			all[i].Size = stored.Size
		}
		c.found(all[i])
	}
	return all, nil
}

func (c *copying) found(d ocispec.Descriptor) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.seen[d.Digest] && c.options.Found != nil {
		c.options.Found(d.Size)
	}
	c.seen[d.Digest] = true
}

func isIndex(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == "application/vnd.docker.distribution.manifest.list.v2+json"
}

// source opens where an image comes from. In a layout with one image, or one that
// has a tag, that is meant.
func (c *Client) source(p *Place) (oras.ReadOnlyTarget, error) {
	if p.Folder == "" {
		return c.repository(*p)
	}
	l, err := openLayout(p.Folder)
	if err == nil && p.Tag == "" && p.Digest == "" {
		var only ocispec.Descriptor
		only, err = l.only()
		p.Digest, p.Tag = only.Digest, only.Annotations[ocispec.AnnotationRefName]
	}
	return l, explained(err, "the OCI layout in "+p.Folder)
}

// target opens where an image goes to.
func (c *Client) target(p Place) (oras.Target, error) {
	if p.Folder == "" {
		return c.repository(p)
	}
	l, err := makeLayout(p.Folder)
	return l, explained(err, p.String())
}
