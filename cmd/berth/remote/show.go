package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	orasremote "oras.land/oras-go/v2/registry/remote"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/storage"
)

// Shown is what can be said of an image.
type Shown struct {
	Image     string        `json:"image"`
	Digest    digest.Digest `json:"digest"`
	MediaType string        `json:"media_type"`
	// Unikernel is nil where no layer is a kernel, an initrd or a ROM.
	Unikernel *image.Image `json:"unikernel,omitempty"`
	// Platforms are those that an index names, Bytes the sizes of what the manifest
	// itself refers to, added up, of what is no unikernel.
	Platforms []string `json:"platforms,omitempty"`
	Bytes     int64    `json:"bytes"`
	// Hints say what some clients cannot do with the image, and why.
	Hints []string `json:"hints"`
}

// Show describes the image at a place of a registry as berth does. Of what is no
// unikernel it says what a manifest says.
func (c *Client) Show(ctx context.Context, p Place) (Shown, error) {
	d, text, err := c.Manifest(ctx, p)
	if err != nil {
		return Shown{}, err
	}
	r, err := c.repository(p)
	if err != nil {
		return Shown{}, err
	}
	described, err := image.Describe(ctx, image.Manifest{Digest: d.Digest, Bytes: text}, &stored{r}, nil)
	unikernel := described.Image
	if err == nil && isIndex(d.MediaType) {
		unikernel, err = image.Compose(&described, (&stored{r}).find(ctx))
	}
	if err != nil {
		return Shown{}, explained(err, p.String())
	}
	s := Shown{Image: p.String(), Digest: d.Digest, MediaType: d.MediaType, Unikernel: unikernel, Hints: []string{}}
	for _, b := range described.Blobs {
		s.Bytes += b.Size
	}
	h := hints{shown: &s, stored: &stored{r}}
	if err := h.collect(ctx, d.MediaType, text); err != nil {
		return Shown{}, explained(err, p.String())
	}
	return s, nil
}

// hints collects what clients stumble over.
type hints struct {
	shown  *Shown
	stored *stored
}

// maxHints is of how many manifests of an index anything is said.
const maxHints = 64

func (h *hints) collect(ctx context.Context, mediaType string, text []byte) error {
	if !isIndex(mediaType) {
		h.layers(text)
		return nil
	}
	var index ocispec.Index
	if err := json.Unmarshal(text, &index); err != nil {
		return fmt.Errorf("no index: %w", err)
	}
	for i, m := range index.Manifests {
		if platform := Platform(m.Platform); platform != "" {
			h.shown.Platforms = append(h.shown.Platforms, platform)
		}
		if i >= maxHints {
			continue
		}
		found, err := h.stored.Manifest(ctx, m.Digest)
		if errors.Is(err, storage.ErrNotFound) {
			h.add("%s is not stored: clients that want this platform cannot pull it", m.Digest)
			continue
		} else if err != nil {
			return err
		}
		if size := int64(len(found.Bytes)); size != m.Size {
			h.add("the index says that %s has %d bytes, and it has %d: containerd and what is built on it refuse to pull that "+
				"(kraft writes this where it adds to an index; push the image anew, under another tag)", m.Digest, m.Size, size)
		}
		h.layers(found.Bytes)
	}
	return nil
}

// layers says what is compressed. Of a kernel or initrd that is not a tar archive,
// the media type says what it is, and nobody unpacks it.
func (h *hints) layers(text []byte) {
	var m ocispec.Manifest
	if json.Unmarshal(text, &m) != nil || h.shown.Unikernel == nil {
		return
	}
	for _, layer := range m.Layers {
		for _, suffix := range []string{".tar+gzip", ".tar.gzip", ".tar+zstd", ".tar.zstd"} {
			if strings.HasSuffix(layer.MediaType, suffix) {
				h.add("the layer %s is compressed: the unikraft CLI's image library reads uncompressed ones only, and finds no kernel in it", layer.Digest)
			}
		}
	}
}

func (h *hints) add(format string, args ...any) {
	h.shown.Hints = append(h.shown.Hints, fmt.Sprintf(format, args...))
}

// stored is what a repository of a registry holds, for who describes it.
type stored struct{ repository *orasremote.Repository }

// Manifest reads a manifest.
func (s *stored) Manifest(ctx context.Context, d digest.Digest) (image.Manifest, error) {
	found, body, err := s.repository.FetchReference(ctx, d.String())
	if err != nil {
		return image.Manifest{}, asStored(err)
	}
	defer body.Close()
	if found.Size > maxManifest {
		return image.Manifest{}, fmt.Errorf("%s: a manifest of %d bytes", d, found.Size)
	}
	text, err := content.ReadAll(body, found)
	return image.Manifest{Digest: d, Bytes: text}, err
}

// find describes the manifests of an index.
func (s *stored) find(ctx context.Context) image.Find {
	return func(d digest.Digest) (*image.Description, error) {
		m, err := s.Manifest(ctx, d)
		if errors.Is(err, storage.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		described, err := image.Describe(ctx, m, s, nil)
		return &described, err
	}
}

// Size asks for the size of a blob.
func (s *stored) Size(ctx context.Context, d digest.Digest) (int64, error) {
	found, err := s.repository.Blobs().Resolve(ctx, d.String())
	return found.Size, asStored(err)
}

// Open reads a blob, from any place if the registry can do that.
func (s *stored) Open(ctx context.Context, d digest.Digest) (io.ReadSeekCloser, error) {
	_, body, err := s.repository.Blobs().FetchReference(ctx, d.String())
	if err != nil {
		return nil, asStored(err)
	}
	if seeker, ok := body.(io.ReadSeekCloser); ok {
		return seeker, nil
	}
	return &forward{ReadCloser: body}, nil
}

// asStored gives what is not there the error that storage has for it.
func asStored(err error) error {
	if kind := explained(err, ""); errors.Is(kind, ErrNotFound) {
		return storage.ErrNotFound
	}
	return err
}

// forward is content of a registry that sends it from the beginning only.
type forward struct {
	io.ReadCloser
	offset int64
}

func (f *forward) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	f.offset += int64(n)
	return n, err
}

var errBackward = errors.New("this registry sends content from the beginning only")

// Seek reads what lies between.
func (f *forward) Seek(offset int64, whence int) (int64, error) {
	if whence == io.SeekCurrent {
		offset += f.offset
	}
	if whence == io.SeekEnd || offset < f.offset {
		return f.offset, errBackward
	}
	_, err := io.CopyN(io.Discard, f, offset-f.offset)
	return f.offset, err
}
