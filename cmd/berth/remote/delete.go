package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

// Leaving is what goes with an image.
type Leaving struct {
	Place  Place         `json:"-"`
	Image  string        `json:"image"`
	Digest digest.Digest `json:"digest"`
	// Tags all go. Of a tag whose image has others, it goes alone.
	Tags []string `json:"tags"`
	// Whole says that the manifest goes with all its tags.
	Whole bool `json:"whole"`
	// Children are the manifests of an index. Those that another tag or index holds
	// stay.
	Children []Child `json:"children"`
}

// Child is a manifest of an index.
type Child struct {
	Digest   digest.Digest `json:"digest"`
	Platform string        `json:"platform,omitempty"`
}

// Leaves says what goes if an image is deleted: by its digest all of it, by a tag
// that tag, and all of it with its last one, of those that do not go as well. With
// only, a tag goes alone in any case.
func (c *Client) Leaves(ctx context.Context, p Place, also []Place, only bool) (Leaving, error) {
	if p.Tag == "" && p.Digest == "" || p.Tag != "" && p.Digest != "" {
		return Leaving{}, fmt.Errorf("%w: %s: say which image goes, by a tag or by a digest", ErrUsage, p)
	}
	d, text, err := c.Manifest(ctx, p)
	if err != nil {
		return Leaving{}, err
	}
	leaving := Leaving{Place: p, Image: p.String(), Digest: d.Digest, Tags: []string{}, Children: []Child{}}
	if only && p.Tag != "" {
		leaving.Tags = append(leaving.Tags, p.Tag)
		return leaving, nil
	}
	tags, err := c.tagsOf(ctx, p, d.Digest)
	if err != nil {
		return Leaving{}, err
	}
	stays := func(tag string) bool {
		return tag != p.Tag && !slices.Contains(also, Place{Host: p.Host, Repository: p.Repository, Tag: tag})
	}
	if p.Tag != "" && slices.ContainsFunc(tags, stays) {
		leaving.Tags = append(leaving.Tags, p.Tag)
		return leaving, nil
	}
	leaving.Whole, leaving.Tags = true, append(leaving.Tags, tags...)
	if !isIndex(d.MediaType) {
		return leaving, nil
	}
	var index ocispec.Index
	if err := json.Unmarshal(text, &index); err != nil {
		return Leaving{}, fmt.Errorf("%s: %w", p, err)
	}
	for _, m := range index.Manifests {
		leaving.Children = append(leaving.Children, Child{m.Digest, Platform(m.Platform)})
	}
	return leaving, nil
}

// tagsOf are the tags of a repository that stand for a digest. Each is asked for:
// no other way is the same in every registry.
func (c *Client) tagsOf(ctx context.Context, p Place, d digest.Digest) (found []string, err error) {
	const atOnce = 8
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	var mu sync.Mutex
	err = c.Tags(ctx, p, func(tags []string) error {
		for _, tag := range tags {
			g.Go(func() error {
				there, err := c.Resolve(ctx, Place{Host: p.Host, Repository: p.Repository, Tag: tag})
				if errors.Is(err, ErrNotFound) {
					return nil // meanwhile
				}
				if err == nil && there.Digest == d {
					mu.Lock()
					defer mu.Unlock()
					found = append(found, tag)
				}
				return err
			})
		}
		return nil
	})
	if waited := g.Wait(); waited != nil {
		err = waited
	}
	slices.Sort(found)
	return found, err
}

// Delete deletes what leaves.
func (c *Client) Delete(ctx context.Context, l Leaving) error {
	reference := l.Place.Tag
	if l.Whole {
		reference = l.Digest.String()
	}
	return c.delete(ctx, l.Place, "/v2/"+l.Place.Repository+"/manifests/"+reference)
}

// Clear deletes everything in a repository. Only berth and Harbor have that.
func (c *Client) Clear(ctx context.Context, p Place) error {
	project, rest, ok := strings.Cut(p.Repository, "/")
	if !ok {
		return fmt.Errorf("%w: %s is not in a namespace", ErrUsage, p)
	}
	return c.delete(ctx, p, "/api/v2.0/projects/"+project+"/repositories/"+strings.ReplaceAll(rest, "/", "%252F"))
}

// Platform writes a platform as people do: linux/arm64. It is "" if there is none.
func Platform(p *ocispec.Platform) string {
	if p == nil || p.OS == "" && p.Architecture == "" {
		return ""
	}
	text := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		text += "/" + p.Variant
	}
	return text
}

// responseError is what a registry answers instead of what was asked for.
func responseError(r *http.Response) error {
	answer := &errcode.ErrorResponse{Method: r.Request.Method, URL: r.Request.URL, StatusCode: r.StatusCode}
	var body struct {
		Errors errcode.Errors `json:"errors"`
	}
	const most = 8 << 10
	if json.NewDecoder(io.LimitReader(r.Body, most)).Decode(&body) == nil {
		answer.Errors = body.Errors
	}
	return answer
}
