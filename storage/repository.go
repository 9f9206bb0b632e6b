package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage/reference"
)

// MaxManifestBytes is the largest manifest that berth takes and reads: 4 MiB,
// the size that the distribution specification tells registries to support.
const MaxManifestBytes = 4 << 20

// Those that a digest may have.
var (
	algorithms = []digest.Algorithm{digest.SHA256, digest.SHA384, digest.SHA512} // in the order of their names
	others     = algorithms[1:]                                                  // but for the canonical one
)

// Repositories calls fn with the name of every repository, in the order of
// their path components, and returns the first error.
func (s *Store) Repositories(ctx context.Context, fn func(name string) error) error {
	return s.walk(ctx, "", []string{"_manifests", "_layers"}, fn)
}

// walk calls fn with every repository, from one down, that has one of the
// folders.
func (s *Store) walk(ctx context.Context, name string, folders []string, fn func(string) error) error {
	children, err := s.list(ctx, repositoryPath(name))
	if err != nil {
		return fmt.Errorf("list repositories: %w", err)
	}
	slices.Sort(children)
	has := func(folder string) bool { return slices.Contains(children, folder) }
	if name != "" && slices.ContainsFunc(folders, has) {
		if err := fn(name); err != nil {
			return err
		}
	}
	for _, child := range children {
		if !reference.IsComponent(child) {
			continue // a file manager's droppings, or lost+found
		}
		if err := s.walk(ctx, strings.TrimPrefix(name+"/"+child, "/"), folders, fn); err != nil {
			return err
		}
	}
	return nil
}

// Repository reads one repository as it is stored. Its methods return an error
// that wraps [ErrNotFound] for what is not there.
func (s *Store) Repository(name string) Repository { return Repository{s, name} }

// Repository is a view of one repository in storage.
type Repository struct {
	store *Store
	name  string
}

// Tags returns the digest that each tag points to. A tag without one is left
// out: it is damaged, or a crash cut its change in two, which [Store.Complete]
// finishes. So is one of a manifest that is in quarantine, until it is healed.
func (r Repository) Tags(ctx context.Context) (map[string]digest.Digest, error) {
	names, err := r.store.list(ctx, tagsPath(r.name))
	if err != nil {
		return nil, fmt.Errorf("list tags of %s: %w", r.name, err)
	}
	tags := make(map[string]digest.Digest, len(names))
	for _, tag := range names {
		if !reference.IsTag(tag) {
			continue
		}
		target, _, err := r.Tag(ctx, tag)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		tags[tag] = target
	}
	return tags, nil
}

// Tag returns what a tag points to, as [Repository.Tags] has it, and when it was
// last set, in UTC.
func (r Repository) Tag(ctx context.Context, tag string) (target digest.Digest, set time.Time, err error) {
	target, err = r.readLink(ctx, tagCurrentLink(r.name, tag))
	if err == nil {
		set, err = r.linkTime(ctx, tagCurrentLink(r.name, tag))
	}
	gone := false
	if err == nil {
		gone, err = r.inQuarantine(ctx, target)
	}
	if gone {
		err = ErrNotFound
	}
	if err != nil {
		return "", time.Time{}, fmt.Errorf("read tag %s:%s: %w", r.name, tag, err)
	}
	return target, set, nil
}

// HasManifest reports whether the repository has a manifest, by the digest that
// it is given, that is not in quarantine. The manifest itself is not looked at.
func (r Repository) HasManifest(ctx context.Context, d digest.Digest) (bool, error) {
	if err := r.store.loadQuarantine(ctx); err != nil {
		return false, err
	}
	if r.store.Quarantined(d) {
		return false, nil
	}
	there, err := r.store.isFile(ctx, revisionLink(r.name, d))
	if err != nil {
		return false, fmt.Errorf("read link of %s: %w", d, err)
	}
	return there, nil
}

// AliasOf returns the manifest that another digest of its bytes stands for.
func (r Repository) AliasOf(ctx context.Context, d digest.Digest) (digest.Digest, error) {
	target, err := r.follow(ctx, d, revisionLink)
	if err != nil {
		return "", fmt.Errorf("read link of %s: %w", d, err)
	}
	return target, nil
}

// inQuarantine reports whether a manifest that a tag names, by any digest, is in
// quarantine.
func (r Repository) inQuarantine(ctx context.Context, named digest.Digest) (bool, error) {
	if err := r.store.loadQuarantine(ctx); err != nil {
		return false, err
	}
	if !r.store.quarantine.some.Load() || named.Algorithm() == digest.Canonical {
		return r.store.Quarantined(named), nil
	}
	target, err := r.follow(ctx, named, revisionLink)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return false, fmt.Errorf("read link of %s: %w", named, err)
	}
	return r.store.Quarantined(target), nil
}

// Manifests returns the canonical digests of all manifests of the repository,
// and what other digests of the same bytes stand for which of them; those in
// quarantine are left out, until they are healed.
func (r Repository) Manifests(ctx context.Context) (manifests []digest.Digest, aliases map[digest.Digest]digest.Digest, err error) {
	all, err := r.linked(ctx, revisionsPath(r.name), func(d digest.Digest) string { return revisionLink(r.name, d) })
	if err == nil {
		err = r.store.loadQuarantine(ctx)
	}
	if err != nil {
		return nil, nil, err
	}
	all = slices.DeleteFunc(all, r.store.Quarantined)
	there := make(map[digest.Digest]bool, len(all))
	for _, d := range all {
		if d.Algorithm() == digest.Canonical {
			manifests = append(manifests, d)
			there[d] = true
		}
	}
	aliases = make(map[digest.Digest]digest.Digest)
	for _, d := range all {
		if d.Algorithm() == digest.Canonical {
			continue
		}
		target, err := r.readLink(ctx, revisionLink(r.name, d))
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, nil, fmt.Errorf("read link of %s: %w", d, err)
		}
		if err == nil && there[target] {
			aliases[d] = target
		}
	}
	return manifests, aliases, nil
}

// Canonical returns the digest under which the bytes of a blob that the
// repository links are stored.
func (r Repository) Canonical(ctx context.Context, d digest.Digest) (digest.Digest, error) {
	target, err := r.follow(ctx, d, layerLink)
	if err != nil {
		return "", fmt.Errorf("blob %s@%s: %w", r.name, d, err)
	}
	return target, nil
}

// BlobAliases returns the other digests under which the repository links a blob
// that it has by its canonical one. It reads every link by such a digest, which
// are few.
func (r Repository) BlobAliases(ctx context.Context, canonical digest.Digest) ([]digest.Digest, error) {
	var aliases []digest.Digest
	for _, algorithm := range algorithms {
		if algorithm == digest.Canonical {
			continue
		}
		path := layersPath(r.name) + "/" + string(algorithm)
		encoded, err := r.store.list(ctx, path)
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", path, err)
		}
		for _, hex := range encoded {
			alias := digest.NewDigestFromEncoded(algorithm, hex)
			target, err := r.follow(ctx, alias, layerLink)
			if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrDamaged) {
				return nil, fmt.Errorf("blob %s@%s: %w", r.name, alias, err)
			}
			if err == nil && target == canonical {
				aliases = append(aliases, alias)
			}
		}
	}
	return aliases, nil
}

// Blobs returns the blobs that the repository links, with their sizes in
// bytes. Links to blobs that are not stored are left out.
func (r Repository) Blobs(ctx context.Context) (map[digest.Digest]int64, error) {
	digests, err := r.linked(ctx, layersPath(r.name), func(d digest.Digest) string { return layerLink(r.name, d) })
	if err != nil {
		return nil, err
	}
	sizes := make(map[digest.Digest]int64, len(digests))
	for _, d := range digests {
		size, err := r.Size(ctx, d)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		sizes[d] = size
	}
	return sizes, nil
}

// linked lists the digests that have a link below path/<algorithm>/<hex>/.
func (r Repository) linked(ctx context.Context, path string, link func(digest.Digest) string) ([]digest.Digest, error) {
	named, err := r.named(ctx, path)
	if err != nil {
		return nil, err
	}
	digests := named[:0]
	for _, d := range named {
		// A deletion removes the link and leaves its folder.
		there, err := r.store.isFile(ctx, link(d))
		if err != nil {
			return nil, fmt.Errorf("read link of %s: %w", d, err)
		}
		if there {
			digests = append(digests, d)
		}
	}
	return digests, nil
}

// named lists the digests that have a folder path/<algorithm>/<hex>.
func (r Repository) named(ctx context.Context, path string) ([]digest.Digest, error) {
	found, err := r.store.list(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", path, err)
	}
	var digests []digest.Digest
	for _, algorithm := range found {
		if !slices.Contains(algorithms, digest.Algorithm(algorithm)) {
			continue
		}
		encoded, err := r.store.list(ctx, path+"/"+algorithm)
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", path, err)
		}
		for _, hex := range encoded {
			if d := digest.NewDigestFromEncoded(digest.Algorithm(algorithm), hex); d.Validate() == nil {
				digests = append(digests, d)
			}
		}
	}
	return digests, nil
}

// Manifest reads a manifest of the repository, and says when its bytes were
// stored. One larger than [MaxManifestBytes] is ErrTooLarge.
func (r Repository) Manifest(ctx context.Context, d digest.Digest) (content []byte, modified time.Time, err error) {
	target, err := r.follow(ctx, d, revisionLink)
	if err == nil {
		content, modified, err = r.whole(ctx, target)
	}
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("manifest %s@%s: %w", r.name, d, err)
	}
	return content, modified, nil
}

// OpenManifest is Manifest for who reads it in pieces, and closes it. info has
// its size.
func (r Repository) OpenManifest(ctx context.Context, d digest.Digest) (content io.ReadCloser, info Info, err error) {
	target, err := r.follow(ctx, d, revisionLink)
	if err == nil {
		content, info, err = r.store.content.Open(ctx, target)
	}
	if err == nil && info.Size > MaxManifestBytes {
		_ = content.Close()
		err = ErrTooLarge
	}
	if err != nil {
		return nil, Info{}, fmt.Errorf("manifest %s@%s: %w", r.name, d, err)
	}
	return content, info, nil
}

func (r Repository) whole(ctx context.Context, target digest.Digest) (content []byte, modified time.Time, err error) {
	f, info, err := r.store.content.Open(ctx, target)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer f.Close()
	if info.Size > MaxManifestBytes {
		return nil, time.Time{}, ErrTooLarge
	}
	if content, err = io.ReadAll(f); err == nil {
		err = r.store.check(ctx, target, content)
	}
	if err != nil {
		return nil, time.Time{}, err
	}
	return content, info.Modified, nil
}

// Size is the size in bytes of a blob that the repository links.
func (r Repository) Size(ctx context.Context, d digest.Digest) (int64, error) {
	target, err := r.Canonical(ctx, d)
	if err != nil {
		return 0, err
	}
	info, err := r.store.content.Stat(ctx, target)
	if err != nil {
		return 0, fmt.Errorf("blob %s@%s: %w", r.name, d, err)
	}
	return info.Size, nil
}

// Open reads a blob that the repository links; the caller closes it.
func (r Repository) Open(ctx context.Context, d digest.Digest) (io.ReadSeekCloser, error) {
	target, err := r.Canonical(ctx, d)
	if err != nil {
		return nil, err
	}
	f, _, err := r.store.content.Open(ctx, target)
	if err != nil {
		return nil, fmt.Errorf("blob %s@%s: %w", r.name, d, err)
	}
	return f, nil
}

// follow resolves a link of the repository. Content is only ever reached
// through one: a digest that somebody else stored is not there.
func (r Repository) follow(ctx context.Context, d digest.Digest, link func(string, digest.Digest) string) (digest.Digest, error) {
	if err := d.Validate(); err != nil {
		return "", ErrNotFound
	}
	return r.readLink(ctx, link(r.name, d))
}

func (r Repository) readLink(ctx context.Context, path string) (digest.Digest, error) {
	content, err := r.store.driver.GetContent(ctx, path)
	if err != nil && !notFound(err) {
		// Not every driver has an error of its own for a folder.
		if info, asked := r.store.driver.Stat(ctx, path); asked == nil && info.IsDir() {
			return "", notAFile(ctx, r.store.driver, path)
		}
	}
	if err != nil {
		return "", translate(err)
	}
	d := digest.Digest(content)
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("link %s: %w", path, ErrDamaged)
	}
	return d, nil
}
