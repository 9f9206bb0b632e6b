// Package remote is what a client does with registries and OCI layouts: it looks
// at images, tags, deletes and copies them. It knows a registry from outside
// alone, by the OCI distribution specification.
package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	orasremote "oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
	"oras.land/oras-go/v2/registry/remote/retry"
)

// Options say how a [Client] reaches registries.
type Options struct {
	// Host is the registry that is meant where none is named.
	Host string
	// Account and Secret are for Host alone: no other registry is shown them.
	Account, Secret string
	// Plain reports whether a host is spoken to without TLS; nil means those on
	// this machine.
	Plain func(host string) bool
	// Agent is what registries are told of the program.
	Agent string
	// Transport may be nil.
	Transport http.RoundTripper
}

// Client speaks to registries. It is safe for concurrent use.
type Client struct {
	options Options
	auth    *auth.Client
	docker  func() (credentials.Store, error)
}

// New returns a client. Other registries than the host get the credentials that
// docker has for them, from its configuration or its helpers.
func New(o Options) (*Client, error) {
	if err := checkHost(o.Host); err != nil {
		return nil, err
	}
	if o.Plain == nil {
		o.Plain = Loopback
	}
	if o.Transport == nil {
		o.Transport = http.DefaultTransport
	}
	c := &Client{options: o, docker: sync.OnceValues(func() (credentials.Store, error) {
		return credentials.NewStoreFromDocker(credentials.StoreOptions{})
	})}
	c.auth = &auth.Client{
		Client: &http.Client{Transport: retry.NewTransport(o.Transport)},
		Cache:  auth.NewCache(), Credential: c.credential, Header: http.Header{"User-Agent": {o.Agent}},
	}
	return c, nil
}

// Host is the registry that is meant where none is named.
func (c *Client) Host() string { return c.options.Host }

// URL is scheme and host of a registry.
func (c *Client) URL(host string) string {
	if c.options.Plain(host) {
		return "http://" + host
	}
	return "https://" + host
}

// Credentials are those for a host, empty for none.
func (c *Client) Credentials(ctx context.Context, host string) (account, secret string, err error) {
	found, err := c.credential(ctx, host)
	return found.Username, found.Password, err
}

func (c *Client) credential(ctx context.Context, host string) (auth.Credential, error) {
	if host == c.options.Host && c.options.Secret != "" {
		return auth.Credential{Username: c.options.Account, Password: c.options.Secret}, nil
	}
	store, err := c.docker()
	if err != nil {
		return auth.EmptyCredential, fmt.Errorf("docker's configuration: %w", err)
	}
	found, err := credentials.Credential(store)(ctx, host)
	if err != nil {
		return auth.EmptyCredential, fmt.Errorf("docker's credentials for %s: %w", host, err)
	}
	return found, nil
}

// Parse is [Parse] with the client's host.
func (c *Client) Parse(text string) (Place, error) { return Parse(text, c.options.Host) }

// InRegistry is Parse for what must be in a registry.
func (c *Client) InRegistry(text string) (Place, error) {
	p, err := c.Parse(text)
	if err == nil && p.Folder != "" {
		err = fmt.Errorf("%w: %s is a folder: this is for images in a registry", ErrUsage, p)
	}
	return p, err
}

// repository is one of a registry.
func (c *Client) repository(p Place) (*orasremote.Repository, error) {
	r, err := orasremote.NewRepository(p.Host + "/" + p.Repository)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrUsage, p, err)
	}
	r.Client, r.PlainHTTP, r.SkipReferrersGC = c.auth, c.options.Plain(p.Host), true
	return r, nil
}

// maxManifest is what a registry takes of one, in bytes.
const maxManifest = 4 << 20

// Manifest returns the manifest or index at a place of a registry, and its bytes,
// which have its digest.
func (c *Client) Manifest(ctx context.Context, p Place) (ocispec.Descriptor, []byte, error) {
	r, err := c.repository(p)
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	d, body, err := r.FetchReference(ctx, p.reference())
	if err != nil {
		return d, nil, explained(err, p.String())
	}
	defer body.Close()
	if d.Size > maxManifest {
		return d, nil, fmt.Errorf("%s: a manifest of %d bytes", p, d.Size)
	}
	text, err := content.ReadAll(body, d)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return d, nil, kinded{fmt.Errorf("%s: cut off: %w", p, err), ErrUnavailable}
	}
	return d, text, explained(err, p.String())
}

// Tags calls each with the tags of a repository, page by page, in their order.
func (c *Client) Tags(ctx context.Context, p Place, each func([]string) error) error {
	r, err := c.repository(p)
	if err != nil {
		return err
	}
	return explained(r.Tags(ctx, "", each), p.String())
}

// Resolve returns what a tag or digest stands for.
func (c *Client) Resolve(ctx context.Context, p Place) (ocispec.Descriptor, error) {
	r, err := c.repository(p)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	d, err := r.Resolve(ctx, p.reference())
	return d, explained(err, p.String())
}

// Tag gives what is at a place further tags in its repository.
func (c *Client) Tag(ctx context.Context, p Place, tags ...string) (ocispec.Descriptor, error) {
	d, text, err := c.Manifest(ctx, p)
	if err != nil {
		return d, err
	}
	r, err := c.repository(p)
	if err != nil {
		return d, err
	}
	for _, tag := range tags {
		if err := r.PushReference(ctx, d, bytes.NewReader(text), tag); err != nil {
			p.Tag, p.Digest = tag, ""
			return d, explained(err, p.String())
		}
	}
	return d, nil
}

// requestTimeout is how long a registry may take for what has no content.
const requestTimeout = time.Minute

// delete sends a request of deletion. Any path of the registry may be meant.
func (c *Client) delete(ctx context.Context, p Place, path string) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	r, err := c.repository(p)
	if err != nil {
		return err
	}
	ctx = auth.AppendRepositoryScope(ctx, r.Reference, auth.ActionPull, auth.ActionDelete)
	request, err := http.NewRequestWithContext(ctx, http.MethodDelete, c.URL(p.Host)+path, nil)
	if err != nil {
		return err
	}
	answer, err := c.auth.Do(request)
	if err != nil {
		return explained(err, p.String())
	}
	defer answer.Body.Close()
	if answer.StatusCode < 300 {
		return nil
	}
	return explained(responseError(answer), p.String())
}
