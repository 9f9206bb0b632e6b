package storage

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage/reference"
)

// Which blobs are being linked is noted here, so that a start after a crash looks
// at those links, and at nothing else of their repositories:
//
//	/berth/linking/<run>-<number>    <repository>@<digest>
//
// A note is one of the changes of the push that it is about, so that it costs no
// sync of its own where changes are made together. Its file is written over by
// the next link: there are as many as links that were made at once, and each says
// what it was about last, also when that has long been published. All have one
// length, filled up with ends of lines, so that local files can write over them in
// place. No other registry looks into it.
const (
	linkingPath = "/berth/linking"
	noteLength  = 512 // in bytes; a name and a digest have 400 at most
)

// fill makes a note as long as all are.
func fill(note string) []byte {
	return []byte(note + strings.Repeat("\n", max(0, noteLength-len(note))))
}

// noteForm is how the files of notes are named; whatever else is there is foreign.
var noteForm = regexp.MustCompile(`^[A-Z2-7]{26}-[0-9]+$`)

// linking gives out the files of notes.
type linking struct {
	run string // in the names of this process's files

	mu   sync.Mutex
	free []int // numbers of files that nobody uses; guarded by mu, like what follows
	all  int   // how many there are
}

func newLinking() *linking { return &linking{run: rand.Text()} }

func (l *linking) take() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last := len(l.free) - 1; last >= 0 {
		n := l.free[last]
		l.free = l.free[:last]
		return n
	}
	l.all++
	return l.all - 1
}

func (l *linking) release(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free = append(l.free, n)
}

func (l *linking) path(n int) string { return path.Join(linkingPath, l.run+"-"+strconv.Itoa(n)) }

// LinkNote says of a link of a repository that it may have changed without the
// index knowing.
type LinkNote struct {
	Repository string
	// Digest is under which the blob was to be linked; "" stands for every link of
	// the repository.
	Digest digest.Digest

	path    string
	linking *linking // nil for one that an earlier process has left
	number  int
}

// NoteLink notes that a blob is about to be linked in a repository; "" stands for
// any. What is changed after it with the same context is not durable before the
// note is. The caller calls Forget once the index knows what has become of the
// link.
//
// By another digest than the canonical one a blob gets two links. Where they are
// made one after the other, a crash may leave the one that the note does not
// name, so that it then stands for all of the repository.
func (s *Store) NoteLink(ctx context.Context, repository string, d digest.Digest) (*LinkNote, error) {
	n := &LinkNote{Repository: repository, Digest: d, linking: s.linking, number: s.linking.take()}
	n.path = s.linking.path(n.number)
	named := d
	if s.joint == nil && d != "" && d.Algorithm() != digest.Canonical {
		named = ""
	}
	if err := s.driver.PutContent(ctx, n.path, fill(repository+"@"+string(named))); err != nil {
		n.Forget()
		return nil, fmt.Errorf("note the link of %s in %s: %w", d, repository, err)
	}
	return n, nil
}

// NoteLinks notes that links of a repository are about to change. They are durable
// when it returns without an error.
func (s *Store) NoteLinks(ctx context.Context, repository string, digests []digest.Digest) (notes []*LinkNote, err error) {
	if s.joint == nil && len(digests) > 1 {
		digests = []digest.Digest{""} // each would cost a call
	}
	err = s.Together(ctx, func(ctx context.Context) error {
		for _, d := range digests {
			n, err := s.NoteLink(ctx, repository, d)
			if err != nil {
				return err
			}
			notes = append(notes, n)
		}
		return nil
	})
	if err != nil {
		for _, n := range notes {
			n.Forget()
		}
		return nil, err
	}
	return notes, nil
}

// Forget says that the index knows of the link: the next note may take the place
// of this one. It is called once; nil is no note.
func (n *LinkNote) Forget() {
	if n != nil && n.linking != nil {
		n.linking.release(n.number)
	}
}

// LeftLinks returns what earlier processes have noted and did not remove: those
// that did not end well.
func (s *Store) LeftLinks(ctx context.Context) (left []*LinkNote, err error) {
	names, err := s.list(ctx, linkingPath)
	if err != nil {
		return nil, fmt.Errorf("list the notes of links: %w", err)
	}
	for _, name := range names {
		if strings.HasPrefix(name, s.linking.run+"-") || !noteForm.MatchString(name) {
			continue
		}
		at := path.Join(linkingPath, name)
		content, err := s.driver.GetContent(ctx, at)
		if notFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the note of a link: %w", translate(err))
		}
		repository, named, ok := strings.Cut(strings.TrimRight(string(content), "\n"), "@")
		d := digest.Digest(named)
		if !ok || !reference.IsName(repository) || d != "" && d.Validate() != nil {
			continue // none of ours
		}
		left = append(left, &LinkNote{Repository: repository, Digest: d, path: at})
	}
	return left, nil
}

// RemoveLinks removes notes that an earlier process has left, all at once where
// that can be: the index knows of the links.
func (s *Store) RemoveLinks(ctx context.Context, notes []*LinkNote) error {
	var paths []string
	for _, n := range notes {
		if n.linking == nil {
			paths = append(paths, n.path)
		}
	}
	return s.removeAll(ctx, paths)
}

// EndLinks removes the notes of this process, but for those of links of which the
// index does not know. Nobody notes any more.
func (s *Store) EndLinks(ctx context.Context) error {
	s.linking.mu.Lock()
	var paths []string
	for _, n := range s.linking.free {
		paths = append(paths, s.linking.path(n))
	}
	s.linking.mu.Unlock()
	return s.removeAll(ctx, paths)
}

func (s *Store) removeAll(ctx context.Context, paths []string) error {
	if len(paths) == 0 {
		return nil
	}
	err := s.Together(ctx, func(ctx context.Context) error {
		var errs []error
		for _, p := range paths {
			errs = append(errs, s.remove(ctx, p))
		}
		return errors.Join(errs...)
	})
	if err != nil {
		return fmt.Errorf("remove the notes of links: %w", err)
	}
	return nil
}
