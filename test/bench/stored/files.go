package stored

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
)

// Files writes so many images into the storage folder of a data folder, as
// distribution lays them out, and no index. progress is told how many are done.
func Files(ctx context.Context, data string, images int, progress func(done int)) error {
	return write(ctx, data, images, func(n int) Image { return place(images, n) }, progress)
}

// FilesOfOne does the same, with all images in one repository, each by a tag of its
// own.
func FilesOfOne(ctx context.Context, data, repository string, images int, progress func(done int)) error {
	return write(ctx, data, images, func(n int) Image { return Image{Repository: repository, Tag: fmt.Sprintf("v%d", n)} }, progress)
}

func write(ctx context.Context, data string, images int, place func(n int) Image, progress func(done int)) error {
	f := files{root: filepath.Join(data, "storage/docker/registry/v2"), made: map[string]bool{}}
	for n := range images {
		if err := ctx.Err(); err != nil {
			return err
		}
		f.image(place(n), contentOf(n))
		if f.err != nil {
			return f.err
		}
		progress(n + 1)
	}
	return nil
}

// files writes files until one fails.
type files struct {
	root string
	made map[string]bool // folders
	err  error
}

func (f *files) image(i Image, c content) {
	repository := "repositories/" + i.Repository + "/"
	for _, b := range c.blobs() {
		f.blob(b.digest, b.bytes)
		f.link(repository+"_layers", b.digest)
	}
	f.blob(c.manifest.Digest, c.manifest.Bytes)
	f.blob(c.index.Digest, c.index.Bytes)
	f.link(repository+"_manifests/revisions", c.manifest.Digest)
	f.link(repository+"_manifests/revisions", c.index.Digest)
	f.link(repository+"_manifests/tags/"+i.Tag+"/index", c.index.Digest)
	f.write(repository+"_manifests/tags/"+i.Tag+"/current/link", []byte(c.index.Digest))
}

func (f *files) blob(d digest.Digest, content []byte) {
	f.write("blobs/"+d.Algorithm().String()+"/"+d.Encoded()[:2]+"/"+d.Encoded()+"/data", content)
}

func (f *files) link(folder string, d digest.Digest) {
	f.write(folder+"/"+d.Algorithm().String()+"/"+d.Encoded()+"/link", []byte(d))
}

func (f *files) write(path string, content []byte) {
	path = filepath.Join(f.root, path)
	dir := filepath.Dir(path)
	if f.err == nil && !f.made[dir] {
		f.err = os.MkdirAll(dir, 0o700)
		f.made[dir] = true
	}
	if f.err == nil {
		f.err = os.WriteFile(path, content, 0o600)
	}
}
