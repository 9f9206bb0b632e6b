package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/gofrs/flock"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"

	"github.com/berth-oci/berth/storage/fsync"
)

// layout is a folder with an OCI layout (image specification, "Image Layout"). That
// of oras-go cannot open one in which an index says wrong sizes, as kraft writes
// them.
type layout struct{ folder string }

// openLayout opens one to read from.
func openLayout(folder string) (layout, error) {
	l := layout{folder}
	_, err := l.index()
	return l, err
}

// makeLayout opens one to write to, and makes it if there is none.
func makeLayout(folder string) (layout, error) {
	l := layout{folder}
	if err := os.MkdirAll(filepath.Join(folder, ocispec.ImageBlobsDir), 0o777); err != nil {
		return l, err
	}
	version := filepath.Join(folder, ocispec.ImageLayoutFile)
	if _, err := os.Stat(version); errors.Is(err, fs.ErrNotExist) {
		text, err := json.Marshal(ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
		if err == nil {
			err = fsync.Replace(version, text, publicFile)
		}
		if err != nil {
			return l, err
		}
	}
	_, err := l.index()
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return l, err
}

// publicFile makes a file one that others may read, as far as the umask lets them.
func publicFile(f *os.File) error { return f.Chmod(0o644) }

func (l layout) path(d digest.Digest) (string, error) {
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("%s: %w", d, err)
	}
	return filepath.Join(l.folder, ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded()), nil
}

func (l layout) index() (ocispec.Index, error) {
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}}
	text, err := os.ReadFile(filepath.Join(l.folder, ocispec.ImageIndexFile))
	if err != nil {
		return index, err
	}
	if err := json.Unmarshal(text, &index); err != nil {
		return index, fmt.Errorf("%s in %s: %w", ocispec.ImageIndexFile, l.folder, err)
	}
	return index, nil
}

// only returns the one image that there is, or the one that has a tag.
func (l layout) only() (ocispec.Descriptor, error) {
	index, err := l.index()
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	all := index.Manifests
	untagged := func(d ocispec.Descriptor) bool { return d.Annotations[ocispec.AnnotationRefName] == "" }
	if tagged := slices.DeleteFunc(slices.Clone(all), untagged); len(tagged) > 0 {
		all = tagged
	}
	if len(all) != 1 {
		return ocispec.Descriptor{}, fmt.Errorf("%w: there are %d images in %s: say which, by its tag or digest", ErrUsage, len(all), l.folder)
	}
	return all[0], nil
}

// Resolve finds an image by its tag, and what is stored by its digest, whose size is
// that of the file.
func (l layout) Resolve(_ context.Context, reference string) (ocispec.Descriptor, error) {
	index, err := l.index()
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	found := ocispec.Descriptor{Digest: digest.Digest(reference)}
	for _, d := range index.Manifests {
		if d.Annotations[ocispec.AnnotationRefName] == reference || d.Digest.String() == reference {
			found = d
		}
	}
	path, err := l.path(found.Digest)
	if err != nil {
		return ocispec.Descriptor{}, errdef.ErrNotFound // a tag
	}
	info, err := os.Stat(path)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if found.MediaType == "" {
		found.MediaType = mediaTypeOf(path, info.Size())
	}
	return ocispec.Descriptor{MediaType: found.MediaType, Digest: found.Digest, Size: info.Size()}, nil
}

// mediaTypeOf is what a manifest says that it is, "" if the file is none.
func mediaTypeOf(path string, size int64) string {
	if size > maxManifest {
		return ""
	}
	text, err := os.ReadFile(path)
	var stated struct {
		MediaType string            `json:"mediaType"`
		Manifests []json.RawMessage `json:"manifests"`
		Layers    []json.RawMessage `json:"layers"`
	}
	if err != nil || json.Unmarshal(text, &stated) != nil {
		return ""
	}
	switch {
	case stated.MediaType != "":
		return stated.MediaType
	case stated.Manifests != nil:
		return ocispec.MediaTypeImageIndex
	case stated.Layers != nil:
		return ocispec.MediaTypeImageManifest
	}
	return ""
}

// Exists reports whether content is there, whole.
func (l layout) Exists(_ context.Context, d ocispec.Descriptor) (bool, error) {
	path, err := l.path(d.Digest)
	if err != nil {
		return false, err
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && info.Size() == d.Size, err
}

// Fetch opens content.
func (l layout) Fetch(_ context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	path, err := l.path(d.Digest)
	if err != nil {
		return nil, err
	}
	return os.Open(path)
}

// Push stores content under its digest, whole and synced or not at all.
func (l layout) Push(_ context.Context, d ocispec.Descriptor, content io.Reader) error {
	path, err := l.path(d.Digest)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".copy-*")
	if err != nil {
		return err
	}
	verifier := d.Digest.Verifier()
	_, err = io.Copy(io.MultiWriter(f, verifier), content)
	if err == nil && !verifier.Verified() {
		err = ErrContent
	}
	if err == nil {
		err = errors.Join(publicFile(f), f.Sync())
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// Tag enters an image into the layout, by a tag or by its digest alone. Several
// processes may do so at a time.
func (l layout) Tag(_ context.Context, d ocispec.Descriptor, reference string) error {
	lock := flock.New(filepath.Join(l.folder, ocispec.ImageLayoutFile), flock.SetFlag(os.O_RDONLY))
	if err := lock.Lock(); err != nil {
		return err
	}
	defer lock.Close()
	index, err := l.index()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	tag := reference
	if reference == d.Digest.String() {
		tag = ""
	}
	for _, there := range index.Manifests {
		if tag == "" && there.Digest == d.Digest {
			return nil
		}
	}
	index.Manifests = slices.DeleteFunc(index.Manifests, func(there ocispec.Descriptor) bool {
		name := there.Annotations[ocispec.AnnotationRefName]
		return name == tag && tag != "" || there.Digest == d.Digest && name == ""
	})
	entry := ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
	if tag != "" {
		entry.Annotations = map[string]string{ocispec.AnnotationRefName: tag}
	}
	index.Manifests = append(index.Manifests, entry)
	text, err := json.Marshal(index)
	if err != nil {
		return err
	}
	return fsync.Replace(filepath.Join(l.folder, ocispec.ImageIndexFile), text, publicFile)
}
