package load

import (
	"fmt"
	"net/http"
)

// Push pushes an image as clients do: of each blob they ask first whether it is
// there.
func (c *Conn) Push(repository, tag string, i Image) error {
	for _, b := range i.Blobs() {
		if err := c.PushBlob(repository, b); err != nil {
			return err
		}
	}
	if err := c.putManifest(repository, i.Manifest.Digest, ManifestType, i.Manifest); err != nil {
		return err
	}
	return c.putManifest(repository, tag, IndexType, i.Index)
}

// PushBlob pushes a blob in one piece, unless it is there.
func (c *Conn) PushBlob(repository string, b Blob) error {
	base := "/v2/" + repository + "/blobs/"
	a, err := c.Do(Request{Method: http.MethodHead, Path: base + b.Digest})
	switch {
	case err != nil:
		return err
	case a.Status == http.StatusOK:
		return nil
	case a.Status != http.StatusNotFound:
		return fmt.Errorf("HEAD %s%s: answered with %d", base, b.Digest, a.Status)
	}
	a, err = c.Want(http.StatusAccepted, Request{Method: http.MethodPost, Path: base + "uploads/"})
	if err != nil {
		return err
	}
	path, err := a.path(b.Digest)
	if err != nil {
		return err
	}
	_, err = c.Want(http.StatusCreated, Request{
		Method: http.MethodPut, Path: path, Header: []string{"Content-Type", "application/octet-stream"}, Body: b,
	})
	return err
}

func (c *Conn) putManifest(repository, reference, mediaType string, m Blob) error {
	_, err := c.Want(http.StatusCreated, Request{
		Method: http.MethodPut, Path: "/v2/" + repository + "/manifests/" + reference,
		Header: []string{"Content-Type", mediaType}, Body: m,
	})
	return err
}

// Pull pulls an image by its tag.
func (c *Conn) Pull(repository, tag string, i Image) error {
	if err := c.Manifest(repository, tag, i.Index); err != nil {
		return err
	}
	if err := c.Manifest(repository, i.Manifest.Digest, i.Manifest); err != nil {
		return err
	}
	for _, b := range []Blob{i.Config, i.Kernel, i.Initrd} {
		if err := c.Blob(repository, b); err != nil {
			return err
		}
	}
	return nil
}

// Manifest gets a manifest by tag or digest.
func (c *Conn) Manifest(repository, reference string, m Blob) error {
	return c.get(m, Request{
		Method: http.MethodGet, Path: "/v2/" + repository + "/manifests/" + reference,
		Header: []string{"Accept", IndexType + ", " + ManifestType},
	})
}

// HeadManifest asks whether a manifest is there, by tag or digest.
func (c *Conn) HeadManifest(repository, reference string) error {
	_, err := c.Want(http.StatusOK, Request{
		Method: http.MethodHead, Path: "/v2/" + repository + "/manifests/" + reference,
		Header: []string{"Accept", IndexType + ", " + ManifestType},
	})
	return err
}

// Blob gets a blob.
func (c *Conn) Blob(repository string, b Blob) error {
	return c.get(b, Request{Method: http.MethodGet, Path: "/v2/" + repository + "/blobs/" + b.Digest})
}

func (c *Conn) get(want Blob, r Request) error {
	a, err := c.Want(http.StatusOK, r)
	if err == nil && a.Bytes != want.Size {
		err = fmt.Errorf("GET %s: %d bytes came, %d are right", r.Path, a.Bytes, want.Size)
	}
	return err
}
