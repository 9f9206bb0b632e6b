package client

import (
	"context"
	"errors"
	"iter"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Image is an image of a repository: an index or a manifest, and what it needs to
// boot.
type Image struct {
	// UUID is the same on every berth.
	UUID      string    `json:"uuid"`
	CreatedAt time.Time `json:"created_at"`
	// Owner and Users, who may pull it, are told to administrators alone.
	Owner string   `json:"owner"`
	Users []string `json:"users"`
	// URL is what to pull: host/user/app@sha256:…
	URL         string            `json:"url"`
	Tags        []string          `json:"tags"`
	InitrdOrROM bool              `json:"initrd_or_rom"`
	Size        int64             `json:"size_in_bytes"`
	Args        []string          `json:"args"`
	Env         map[string]string `json:"env"`
	// Platforms are the manifests of an index, or the one manifest.
	Platforms []Platform `json:"platforms"`
}

// Platform is one manifest of an image.
type Platform struct {
	Digest       string   `json:"digest"`
	OS           string   `json:"os"`
	Architecture string   `json:"architecture"`
	Size         int64    `json:"size_in_bytes"`
	Kernel       *Part    `json:"kernel"` // nil if there is none
	Initrd       *Part    `json:"initrd"`
	ROMs         []Part   `json:"roms"`
	Args         []string `json:"args"`
	KernelArgs   []string `json:"kernel_args"`
}

// Part is a layer with a kernel, an initrd or a ROM; its size is in bytes.
type Part struct {
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
	MediaType string `json:"media_type"`
}

// Name is the name in the URL, without host and digest.
func (i Image) Name() string {
	name, _, _ := strings.Cut(i.URL, "@")
	if _, path, ok := strings.Cut(name, "/"); ok {
		return path
	}
	return name
}

// Digest is the digest in the URL.
func (i Image) Digest() string {
	_, digest, _ := strings.Cut(i.URL, "@")
	return digest
}

// ListOptions say which images are listed, by creation time.
type ListOptions struct {
	// Namespaces are user, user/app or official; none means all that one may see.
	Namespaces []string
	// Tagged leaves out images without a tag.
	Tagged bool
	// NewestFirst turns the order around.
	NewestFirst bool
	// After begins behind an image, by its UUID or URL, or a time in RFC 3339.
	After string
	// PageSize is how many images are asked for at a time; 0 means 100.
	PageSize int
}

// Page is a part of a list.
type Page struct {
	Images []Image
}

// Pages returns a list page by page. It ends with the first error. Ranging over it
// again begins again.
func (c *Client) Pages(ctx context.Context, o ListOptions) iter.Seq2[Page, error] {
	return func(yield func(Page, error) bool) {
		for target := c.route("/v1/images", o.query()); target != nil; {
			var p Page
			next, err := c.get(ctx, target, "images", &p.Images)
			if err == nil && next != nil && *next == *target {
				err = errors.New("a page links to itself")
			}
			if !yield(p, err) || err != nil {
				return
			}
			target = next
		}
	}
}

// List returns a list image by image. It ends with the first error. Ranging over it
// again begins again.
func (c *Client) List(ctx context.Context, o ListOptions) iter.Seq2[Image, error] {
	return func(yield func(Image, error) bool) {
		for page, err := range c.Pages(ctx, o) {
			if err != nil {
				yield(Image{}, err)
				return
			}
			for _, image := range page.Images {
				if !yield(image, nil) {
					return
				}
			}
		}
	}
}

func (o ListOptions) query() url.Values {
	const byDefault = 100
	size := o.PageSize
	if size <= 0 {
		size = byDefault
	}
	q := url.Values{"count": {strconv.Itoa(size)}}
	for _, namespace := range o.Namespaces {
		q.Add("namespace", namespace)
	}
	if o.Tagged {
		q.Set("tagged", "true")
	}
	if o.NewestFirst {
		q.Set("order", "desc")
	}
	if o.After != "" {
		q.Set("after", o.After)
	}
	return q
}

// Get looks an image up: by user/app:tag (without a tag it is latest),
// user/app@sha256:…, sha256:… (of several repositories, the first by name), or its
// UUID. An official image needs no more than app. What does not exist is an error
// for which [IsNotFound] holds.
func (c *Client) Get(ctx context.Context, image string) (Image, error) {
	target := c.route("/v1/images", url.Values{"tag": {image}})
	switch {
	case isUUID(image):
		target = c.route("/v1/images/"+image, nil)
	case strings.Contains(image, "@") || strings.HasPrefix(image, "sha256:") || strings.HasPrefix(image, "sha384:") || strings.HasPrefix(image, "sha512:"):
		target = c.route("/v1/images", url.Values{"digest": {image}})
	}
	var images []Image
	if _, err := c.get(ctx, target, "images", &images); err != nil {
		return Image{}, err
	}
	if len(images) == 0 {
		return Image{}, errors.New("a lookup is answered with nothing, which no berth does")
	}
	return images[0], nil
}

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, r := range s {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (r == '-') || !dash && !strings.ContainsRune("0123456789abcdefABCDEF", r) {
			return false
		}
	}
	return true
}

// Quota is what an account stores, and may store.
type Quota struct {
	// UUID is the account's, the same on every berth.
	UUID string `json:"uuid"`
	Used struct {
		Bytes  int64 `json:"image_storage_bytes"`
		Images int64 `json:"images"`
	} `json:"used"`
	Hard struct {
		// Bytes is nil where there is no limit.
		Bytes *int64 `json:"image_storage_bytes"`
	} `json:"hard"`
}

// Quotas returns the quota of the account that asks; none in a registry without
// accounts.
func (c *Client) Quotas(ctx context.Context) ([]Quota, error) {
	var quotas []Quota
	_, err := c.get(ctx, c.route("/v1/users/quotas", nil), "quotas", &quotas)
	return quotas, err
}
