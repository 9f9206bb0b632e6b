package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/index"
)

// read looks at one repository.
func (i *Index) read(ctx context.Context, operation, repository string, fn func(*repoTx) error) error {
	return i.view(ctx, operation, func(s *session) error {
		r, err := s.open(repository)
		if err != nil {
			return err
		}
		return fn(r)
	})
}

// Entry implements index.Reader.
func (i *Index) Entry(ctx context.Context, repository string, d digest.Digest) (e index.Entry, err error) {
	err = i.read(ctx, "entry", repository, func(r *repoTx) error {
		e, _, err = r.entry(d)
		return err
	})
	return e, err
}

// Tagged implements index.Reader.
func (i *Index) Tagged(ctx context.Context, repository, tag string) (e index.Entry, err error) {
	err = i.read(ctx, "tagged", repository, func(r *repoTx) error {
		d, err := r.resolve(tag)
		if err == nil {
			e, _, err = r.entry(d)
		}
		return err
	})
	return e, err
}

// resolve is what a tag points to, or ErrNotFound.
func (r *repoTx) resolve(tag string) (digest.Digest, error) {
	d, err := r.tagged(tag)
	if err == nil && d == "" {
		err = index.ErrNotFound
	}
	return d, err
}

// Resolve implements index.Reader.
func (i *Index) Resolve(ctx context.Context, repository, tag string) (d digest.Digest, err error) {
	err = i.read(ctx, "resolve", repository, func(r *repoTx) error {
		d, err = r.resolve(tag)
		return err
	})
	return d, err
}

// ByUUID implements index.Reader.
func (i *Index) ByUUID(ctx context.Context, id uuid.UUID, within []string) (e index.Entry, err error) {
	err = i.view(ctx, "by_uuid", func(s *session) error {
		// Up to the answer, the same is done for what is not there.
		value := s.at(tableUUIDs).Get(id[:])
		var number uint32
		if len(value) > numberLength {
			number = binary.BigEndian.Uint32(value)
		}
		name := s.at(tableRepositories).Get(numbered(number, kindName))
		if may := index.Within(within, string(name)); value == nil || !may {
			return index.ErrNotFound
		}
		if number == 0 || name == nil {
			return fmt.Errorf("image %s: %w", id, errValue)
		}
		r, err := s.openAs(string(name), number)
		if err != nil {
			return err
		}
		raw, manifest, err := r.target(value[numberLength:], id)
		if err == nil {
			_, err = s.reading().entry(r, raw, manifest, &e)
		}
		return err
	})
	return e, err
}

// ByDigest implements index.Reader.
func (i *Index) ByDigest(ctx context.Context, d digest.Digest, namespaces []string, after string, n int) (entries []index.Entry, err error) {
	err = i.view(ctx, "by_digest", func(s *session) error {
		start := string(short(d))
		m := namesIn(s.at(tableDigests), start, namespaces, after)
		size := 0
		for next := m.least(); next != nil && len(entries) < n && size < index.BatchBytes; next = m.least() {
			r, err := s.open(string(next.k[len(start):]))
			if err != nil {
				return err
			}
			next.advance()
			e, bytes, err := r.entry(d)
			if errors.Is(err, index.ErrNotFound) {
				// The same bytes are no unikernel in any repository that has
				// the same layers, but one may lack them; or what is there has
				// a digest that begins alike.
				continue
			}
			if err != nil {
				return err
			}
			entries = append(entries, e)
			size += bytes
		}
		return nil
	})
	return entries, err
}

// State implements index.Planner.
func (i *Index) State(ctx context.Context, repository string) (index.State, error) {
	s := index.State{
		Tags:      make(map[string]digest.Digest),
		Manifests: make(map[digest.Digest]struct{}),
		Aliases:   make(map[digest.Digest]digest.Digest),
		Links:     make(map[digest.Digest]int64),
	}
	if err := i.flush(); err != nil {
		return s, err
	}
	err := i.read(ctx, "state", repository, func(r *repoTx) error {
		for _, k := range []kind{kindTag, kindManifest, kindAlias, kindLink} {
			if err := below(r.data(), r.key(k), func(rest, value []byte) error { return addTo(&s, k, rest, value) }); err != nil {
				return err
			}
		}
		return nil
	})
	return s, err
}

// addTo takes a key into a state.
func addTo(s *index.State, k kind, rest, value []byte) error {
	if k == kindTag {
		d := newDecoder(value)
		s.Tags[string(rest)] = d.digest()
		return d.err
	}
	dgst, err := restDigest(rest)
	if err != nil {
		return err
	}
	switch k {
	case kindManifest:
		s.Manifests[dgst] = struct{}{}
	case kindAlias:
		s.Aliases[dgst], err = restDigest(value)
	case kindLink:
		var l link
		l, err = decodeLink(value)
		s.Links[dgst] = l.size
	}
	return err
}

// Parents implements index.Planner.
func (i *Index) Parents(ctx context.Context, repository string, d digest.Digest) (parents []digest.Digest, err error) {
	err = i.read(ctx, "parents", repository, func(r *repoTx) error {
		names, err := r.names(r.canonical(d))
		if err != nil {
			return err
		}
		for _, name := range names {
			found, err := digestsBelow(r.data(), r.by(kindParent, name))
			if err != nil {
				return err
			}
			parents = append(parents, found...)
		}
		return nil
	})
	return parents, err
}

// Children implements index.Planner.
func (i *Index) Children(ctx context.Context, repository string, d digest.Digest) (children []digest.Digest, err error) {
	err = i.read(ctx, "children", repository, func(r *repoTx) error {
		m, err := r.manifest(d)
		if err != nil || m == nil {
			return err
		}
		for _, child := range m.Children {
			if child = r.canonical(child); r.has(child) {
				children = append(children, child)
			}
		}
		return nil
	})
	return children, err
}

// Tags implements index.Planner.
func (i *Index) Tags(ctx context.Context, repository string, d digest.Digest) (tags []string, err error) {
	err = i.read(ctx, "tags", repository, func(r *repoTx) error {
		tags = r.tagsOf(d)
		return nil
	})
	return tags, err
}

// Linked implements index.Reader.
func (i *Index) Linked(ctx context.Context, repository string, d digest.Digest) (size int64, found bool, err error) {
	if size, found = sizeOf(i.arrivals.now(), repository, d); found {
		return size, true, i.health.error()
	}
	err = i.read(ctx, "linked", repository, func(r *repoTx) error {
		var l link
		l, found, err = r.link(d)
		size = l.size
		return err
	})
	return size, found, err
}

// Referring implements index.Planner.
func (i *Index) Referring(ctx context.Context, repository string, d digest.Digest) (manifests []digest.Digest, err error) {
	err = i.read(ctx, "referring", repository, func(r *repoTx) error {
		return below(r.data(), r.by(kindReference, d), func(short, _ []byte) error {
			alike, err := r.startingWith(short)
			manifests = append(manifests, alike...)
			return err
		})
	})
	return manifests, err
}

// TagNames implements index.Reader.
func (i *Index) TagNames(ctx context.Context, repository, after string, n int) (tags []string, err error) {
	come := i.arrivals.now()
	isOf := func(n *arrival) bool { return n.repository == repository }
	err = i.read(ctx, "tag_names", repository, func(r *repoTx) error {
		if r.known.manifests == 0 && r.known.links == 0 && !slices.ContainsFunc(come, isOf) {
			return index.ErrNotFound
		}
		for tag := range behind(r.data(), r.key(kindTag), []byte(after)) {
			if len(tags) >= n {
				break
			}
			tags = append(tags, string(tag))
		}
		return nil
	})
	return tags, err
}

// MountSource implements index.Reader.
func (i *Index) MountSource(ctx context.Context, d digest.Digest, namespaces []string) (repository string, err error) {
	for _, n := range i.arrivals.now() {
		if _, brings := n.blobs[d]; brings && index.Within(namespaces, n.repository) {
			return n.repository, i.health.error()
		}
	}
	err = i.view(ctx, "mount_source", func(s *session) error {
		c, start := s.at(tableHolders).Cursor(), short(d)
		// first looks at the repositories from a name on that fit.
		first := func(from string, fits func(string) bool) (bool, error) {
			for k, _ := c.Seek(append(bytes.Clone(start), from...)); bytes.HasPrefix(k, start); k, _ = c.Next() {
				name := string(k[len(start):])
				if !fits(name) {
					return false, nil
				}
				r, err := s.open(name)
				if err != nil {
					return false, err
				}
				// Another digest may begin alike.
				if _, found, err := r.link(d); err != nil || found {
					repository = name
					return found, err
				}
			}
			return false, nil
		}
		if namespaces == nil {
			namespaces = []string{""}
		}
		for _, ns := range namespaces {
			spans := map[string]func(string) bool{"": func(string) bool { return true }}
			if ns != "" {
				spans = map[string]func(string) bool{
					ns:       func(name string) bool { return name == ns },
					ns + "/": func(name string) bool { return strings.HasPrefix(name, ns+"/") },
				}
			}
			for from, fits := range spans {
				if found, err := first(from, fits); err != nil || found {
					return err
				}
			}
		}
		return index.ErrNotFound
	})
	return repository, err
}
