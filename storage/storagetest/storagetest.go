// Package storagetest is the suite that every storage of berth passes, whichever
// driver and content it has.
package storagetest

import (
	"context"
	"errors"
	"maps"
	"path"
	"slices"
	"testing"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage"
)

// Run checks a storage. open returns another empty one each time.
func Run(t *testing.T, open func(t *testing.T) *storage.Store) {
	for _, suite := range []struct {
		name  string
		tests []test
	}{
		{"driver", driverTests}, {"layout", layoutTests}, {"complete", completeTests}, {"damage", damageTests}, {"heal", healTests}, {"collect", collectTests}, {"uploads", uploadTests}, {"notes", noteTests}, {"enumerate", enumerateTests},
	} {
		t.Run(suite.name, func(t *testing.T) {
			for _, test := range suite.tests {
				t.Run(test.name, func(t *testing.T) {
					t.Parallel()
					test.run(t, newStored(t, open))
				})
			}
		})
	}
}

type test struct {
	name string
	run  func(*testing.T, *stored)
}

// stored is a storage and what distribution would write into it. The layout
// stands here once more, so that berth is not checked against itself.
type stored struct {
	*storage.Store
	t      *testing.T
	driver storagedriver.StorageDriver
	open   func(*testing.T) *storage.Store
}

func newStored(t *testing.T, open func(*testing.T) *storage.Store) *stored {
	s := open(t)
	return &stored{Store: s, t: t, driver: s.Driver(), open: open}
}

const (
	top          = "/docker/registry/v2"
	repositories = top + "/repositories/"
)

func below(d digest.Digest) string { return d.Algorithm().String() + "/" + d.Encoded() }

func dataPath(d digest.Digest) string {
	return top + "/blobs/" + d.Algorithm().String() + "/" + d.Encoded()[:2] + "/" + d.Encoded() + "/data"
}

func manifestLink(repository string, d digest.Digest) string {
	return repositories + repository + "/_manifests/revisions/" + below(d) + "/link"
}

func layerLink(repository string, d digest.Digest) string {
	return repositories + repository + "/_layers/" + below(d) + "/link"
}

func tagFolder(repository, tag string) string {
	return repositories + repository + "/_manifests/tags/" + tag
}

func tagIndex(repository, tag string, d digest.Digest) string {
	return tagFolder(repository, tag) + "/index/" + below(d) + "/link"
}

func tagCurrent(repository, tag string) string { return tagFolder(repository, tag) + "/current/link" }

// put writes a file.
func (s *stored) put(path, content string) {
	s.t.Helper()
	if err := s.driver.PutContent(s.t.Context(), path, []byte(content)); err != nil {
		s.t.Fatal(err)
	}
}

// blob stores bytes that no repository links.
func (s *stored) blob(content string) digest.Digest {
	s.t.Helper()
	d := digest.FromString(content)
	s.put(dataPath(d), content)
	return d
}

// layer stores bytes that a repository links as a blob.
func (s *stored) layer(repository, content string) digest.Digest {
	s.t.Helper()
	d := s.blob(content)
	s.put(layerLink(repository, d), d.String())
	return d
}

// manifest stores bytes that a repository links as a manifest.
func (s *stored) manifest(repository, content string) digest.Digest {
	s.t.Helper()
	d := s.blob(content)
	s.put(manifestLink(repository, d), d.String())
	return d
}

// tag lets a tag point to a manifest.
func (s *stored) tag(repository, tag string, d digest.Digest) {
	s.t.Helper()
	s.put(tagIndex(repository, tag, d), d.String())
	s.put(tagCurrent(repository, tag), d.String())
}

// names lists the repositories.
func (s *stored) names() (names []string) {
	s.t.Helper()
	err := s.Repositories(s.t.Context(), func(name string) error {
		names = append(names, name)
		return nil
	})
	if err != nil {
		s.t.Errorf("list repositories: %v", err)
	}
	return names
}

// files returns all that is stored below a path.
func (s *stored) files(folder string) map[string]string {
	s.t.Helper()
	files := map[string]string{}
	s.collect(folder, files)
	return files
}

func (s *stored) collect(folder string, files map[string]string) {
	s.t.Helper()
	ctx := s.t.Context()
	entries, err := s.driver.List(ctx, folder)
	if err != nil && !missing(err) {
		s.t.Fatal(err)
	}
	for _, entry := range entries {
		entry = path.Join(folder, path.Base(entry))
		info, err := s.driver.Stat(ctx, entry)
		if err != nil {
			s.t.Fatal(err)
		}
		if info.IsDir() {
			s.collect(entry, files)
			continue
		}
		content, err := s.driver.GetContent(ctx, entry)
		if err != nil {
			s.t.Fatal(err)
		}
		files[entry] = string(content)
	}
}

// changed names the files that differ.
func changed(a, b map[string]string) (names []string) {
	for name, content := range a {
		if other, ok := b[name]; !ok || other != content {
			names = append(names, name)
		}
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// wantTags wants exactly these tags.
func (s *stored) wantTags(repository string, want map[string]digest.Digest) {
	s.t.Helper()
	tags, err := s.Repository(repository).Tags(s.t.Context())
	if err != nil || !maps.Equal(tags, want) {
		s.t.Errorf("tags of %s: got %v, %v, want %v", repository, tags, err, want)
	}
}

// wantManifests wants exactly these manifests.
func (s *stored) wantManifests(repository string, want ...digest.Digest) {
	s.t.Helper()
	manifests, _, err := s.Repository(repository).Manifests(s.t.Context())
	slices.Sort(manifests)
	slices.Sort(want)
	if err != nil || !slices.Equal(manifests, want) {
		s.t.Errorf("manifests of %s: got %v, %v, want %v", repository, manifests, err, want)
	}
}

func missing(err error) bool {
	var missing storagedriver.PathNotFoundError
	return errors.As(err, &missing)
}

// reopened is the storage with another driver in front of its own.
func (s *stored) reopened(driver storagedriver.StorageDriver) *storage.Store {
	s.t.Helper()
	again, err := storage.Open(context.Background(), storage.OpenedDriver, map[string]any{"driver": driver})
	if err != nil {
		s.t.Fatal(err)
	}
	return again
}
