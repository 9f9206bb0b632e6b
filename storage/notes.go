package storage

import (
	"context"
	"crypto/rand"
	"encoding/json"
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

// What is under way is noted here: which blobs are being linked, and which
// manifests put. A start after a crash looks at those, and at nothing else of their
// repositories:
//
//	/berth/linking/<run>-<number>    <repository>@<digest>, or an intent as JSON
//
// A note is one of the changes that it is about, so that it costs no sync of its
// own where changes are made together. Its file is written over by the next one:
// there are as many as there were changes at once, and each says what it was about
// last, also when that has long been published. So a start does not do what a note
// says, but looks at what has become of it. All have one length, filled up with
// ends of lines, so that local files can write over them in place. No other
// registry looks into it.
const (
	notesPath  = "/berth/linking"
	noteLength = 1 << 10 // in bytes; a name and a digest have 400 at most
)

// fill makes a note as long as all are.
func fill(note string) []byte {
	return []byte(note + strings.Repeat("\n", max(0, noteLength-len(note))))
}

// noteForm is how the files of notes are named; whatever else is there is foreign.
var noteForm = regexp.MustCompile(`^[A-Z2-7]{26}-[0-9]+$`)

// noteFiles gives out the files of notes.
type noteFiles struct {
	run string // in the names of this process's files

	mu   sync.Mutex
	free []int // numbers of files that nobody uses; guarded by mu, like what follows
	all  int   // how many there are
}

func newNoteFiles() *noteFiles { return &noteFiles{run: rand.Text()} }

func (f *noteFiles) take() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if last := len(f.free) - 1; last >= 0 {
		n := f.free[last]
		f.free = f.free[:last]
		return n
	}
	f.all++
	return f.all - 1
}

func (f *noteFiles) release(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.free = append(f.free, n)
}

func (f *noteFiles) path(n int) string { return path.Join(notesPath, f.run+"-"+strconv.Itoa(n)) }

// Note says of a link or of a manifest of a repository that it may have changed
// without the index knowing.
type Note struct {
	Repository string
	// Digest is under which the blob was to be linked; "" stands for every link of
	// the repository.
	Digest digest.Digest
	// Change, if it is not nil, is the put of a manifest, and what this is about.
	Change *Intent

	path    string
	content string
	files   *noteFiles // nil for one that an earlier process has left
	number  int
}

func (s *Store) newNote(repository, content string) *Note {
	n := &Note{Repository: repository, content: content, files: s.notes, number: s.notes.take()}
	n.path = s.notes.path(n.number)
	return n
}

// ChangeNote returns a note of the put of a manifest, for [Store.WriteNote] within
// the change itself. It is nil where changes are not made at once, and for a put of
// so many tags that it does not fit: the intent has to be durable before, elsewhere.
func (s *Store) ChangeNote(i Intent) *Note {
	if s.joint == nil {
		return nil
	}
	put := i.put()
	content, err := json.Marshal(put)
	if err != nil || len(content) > noteLength {
		return nil
	}
	n := s.newNote(i.Repository, string(content))
	n.Change = &put
	return n
}

// WriteNote writes a note. What is changed after it with the same context is not
// durable before the note is.
func (s *Store) WriteNote(ctx context.Context, n *Note) error {
	if err := s.driver.PutContent(ctx, n.path, fill(n.content)); err != nil {
		return fmt.Errorf("note a change of %s: %w", n.Repository, err)
	}
	return nil
}

// NoteLink notes that a blob is about to be linked in a repository, as WriteNote
// does; "" stands for any. The caller calls Forget once the index knows what has
// become of the link.
//
// By another digest than the canonical one a blob gets two links. Where they are
// made one after the other, a crash may leave the one that the note does not
// name, so that it then stands for all of the repository.
func (s *Store) NoteLink(ctx context.Context, repository string, d digest.Digest) (*Note, error) {
	named := d
	if s.joint == nil && d != "" && d.Algorithm() != digest.Canonical {
		named = ""
	}
	n := s.newNote(repository, repository+"@"+string(named))
	n.Digest = d
	if err := s.WriteNote(ctx, n); err != nil {
		n.Forget()
		return nil, err
	}
	return n, nil
}

// NoteLinks notes that links of a repository are about to change. They are durable
// when it returns without an error.
func (s *Store) NoteLinks(ctx context.Context, repository string, digests []digest.Digest) (notes []*Note, err error) {
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

// Forget says that the index knows what has become of it: the next note may take
// the place of this one. It is called once; nil is no note.
func (n *Note) Forget() {
	if n != nil && n.files != nil {
		n.files.release(n.number)
	}
}

// LeftNotes returns what earlier processes have noted and did not remove: those
// that did not end well.
func (s *Store) LeftNotes(ctx context.Context) (left []*Note, err error) {
	names, err := s.list(ctx, notesPath)
	if err != nil {
		return nil, fmt.Errorf("list the notes of changes: %w", err)
	}
	for _, name := range names {
		if strings.HasPrefix(name, s.notes.run+"-") || !noteForm.MatchString(name) {
			continue
		}
		at := path.Join(notesPath, name)
		content, err := s.driver.GetContent(ctx, at)
		if notFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the note of a change: %w", translate(err))
		}
		if n := parseNote(content); n != nil {
			n.path = at
			left = append(left, n)
		}
	}
	return left, nil
}

// parseNote reads a note, nil for what is none of ours. Of an intent it reads what a
// put is: nothing is taken away because a file says so.
func parseNote(content []byte) *Note {
	text := strings.TrimRight(string(content), "\n")
	if strings.HasPrefix(text, "{") {
		var i Intent
		if err := json.Unmarshal([]byte(text), &i); err != nil || !reference.IsName(i.Repository) || !i.isPut() {
			return nil
		}
		put := i.put()
		return &Note{Repository: i.Repository, Change: &put}
	}
	repository, named, ok := strings.Cut(text, "@")
	d := digest.Digest(named)
	if !ok || !reference.IsName(repository) || d != "" && d.Validate() != nil {
		return nil
	}
	return &Note{Repository: repository, Digest: d}
}

// RemoveNotes removes notes that an earlier process has left, all at once where
// that can be: the index knows what they are about.
func (s *Store) RemoveNotes(ctx context.Context, notes []*Note) error {
	var paths []string
	for _, n := range notes {
		if n.files == nil {
			paths = append(paths, n.path)
		}
	}
	return s.removeAll(ctx, paths)
}

// EndNotes removes the notes of this process, but for those of what the index
// does not know. Nobody notes any more.
func (s *Store) EndNotes(ctx context.Context) error {
	s.notes.mu.Lock()
	var paths []string
	for _, n := range s.notes.free {
		paths = append(paths, s.notes.path(n))
	}
	s.notes.mu.Unlock()
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
		return fmt.Errorf("remove the notes of changes: %w", err)
	}
	return nil
}
