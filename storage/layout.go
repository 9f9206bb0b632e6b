package storage

import (
	"path"

	"github.com/opencontainers/go-digest"
)

// The layout is distribution's own, described in its registry/storage/paths.go:
//
//	/docker/registry/v2/blobs/<algorithm>/<two hex digits>/<hex>/data
//	/docker/registry/v2/repositories/<name>/_manifests/revisions/<algorithm>/<hex>/link
//	/docker/registry/v2/repositories/<name>/_manifests/tags/<tag>/current/link
//	/docker/registry/v2/repositories/<name>/_manifests/tags/<tag>/index/<algorithm>/<hex>/link
//	/docker/registry/v2/repositories/<name>/_layers/<algorithm>/<hex>/link
//	/docker/registry/v2/repositories/<name>/_uploads/<id>/…
//
// A link is a file that holds a digest.
const (
	root         = "/docker/registry/v2"
	repositories = root + "/repositories"
)

func blobPath(d digest.Digest) string {
	return path.Join(root, "blobs", d.Algorithm().String(), d.Encoded()[:2], d.Encoded(), "data")
}

func repositoryPath(name string) string { return path.Join(repositories, name) }

func revisionsPath(name string) string {
	return path.Join(repositories, name, "_manifests", "revisions")
}

func revisionLink(name string, d digest.Digest) string {
	return path.Join(revisionsPath(name), d.Algorithm().String(), d.Encoded(), "link")
}

func tagsPath(name string) string { return path.Join(repositories, name, "_manifests", "tags") }

func tagPath(name, tag string) string { return path.Join(tagsPath(name), tag) }

func tagCurrentLink(name, tag string) string { return path.Join(tagPath(name, tag), "current", "link") }

func tagIndexLink(name, tag string, d digest.Digest) string {
	return path.Join(tagPath(name, tag), "index", d.Algorithm().String(), d.Encoded(), "link")
}

func layersPath(name string) string { return path.Join(repositories, name, "_layers") }

func layerLink(name string, d digest.Digest) string {
	return path.Join(layersPath(name), d.Algorithm().String(), d.Encoded(), "link")
}

func uploadsPath(name string) string { return path.Join(repositories, name, "_uploads") }

func uploadPath(name, id string) string { return path.Join(uploadsPath(name), id) }
