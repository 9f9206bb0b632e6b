package local

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"time"
)

// draftUpload takes up a file of an upload's state, and reports whether it is in
// memory then. An upload that was there before is not.
func (d *Driver) draftUpload(name string, content []byte) bool {
	folder, below, ok := cutUpload(name)
	if !ok || d.drafts == nil || len(content) > d.small {
		return false
	}
	n, _ := d.drafts.of(name)
	if n == nil && below == draftStart {
		if _, err := d.files.stat(folder); !errors.Is(err, fs.ErrNotExist) {
			return false
		}
		n = d.drafts.begin(folder)
	}
	if n == nil {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	state, isState := strings.CutPrefix(below, "hashstates/")
	switch {
	case n.ended || below == draftStart && n.begun:
		return false
	case below == draftStart:
	case isState && path.Base(state) != state:
		for other := range n.files { // only the last is of use
			if strings.HasPrefix(other, "hashstates/") {
				delete(n.files, other)
			}
		}
	default:
		return false
	}
	n.files[below] = &draftFile{append([]byte(nil), content...), time.Now()}
	return true
}

// deleteDrafts drops what is in memory at a path and below it, and reports whether
// there was anything; onFiles says that there may be something in the file system
// too.
func (d *Driver) deleteDrafts(name string) (any, onFiles bool) {
	if d.drafts == nil {
		return false, true
	}
	for _, n := range d.drafts.below(name) {
		n.mu.Lock()
		any, onFiles = true, onFiles || n.spilled || n.begun
		d.drafts.end(n)
		n.mu.Unlock()
	}
	if n, below := d.drafts.of(name); n != nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		for file := range n.files {
			if within(file, below) {
				any = true
				d.dropFile(n, file)
			}
		}
		onFiles = onFiles || n.spilled || n.begun
	} else if !any {
		onFiles = true
	}
	return any, onFiles || !transient(name)
}

// dropFile drops a content. The caller holds the draft's mu.
func (d *Driver) dropFile(n *draft, file string) {
	if file == draftData {
		d.drafts.take(-len(n.files[file].content))
	}
	delete(n.files, file)
}

// moved drops the data of a draft, which has become something else.
func (d *Driver) moved(name string) {
	if n, below := d.drafts.of(name); n != nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.files[below] != nil && !n.ended {
			d.dropFile(n, below)
		}
	}
}

// openDraft returns a writer of the data of a draft, nil if it is not in memory.
func (d *Driver) openDraft(name string, again bool) *draftWriter {
	if d.drafts == nil {
		return nil
	}
	n, below := d.drafts.of(name)
	if n == nil || below != draftData {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		return nil
	}
	if f := n.files[draftData]; f != nil && !again && !n.spilled {
		d.dropFile(n, draftData)
	}
	if n.files[draftData] == nil && !n.spilled {
		n.files[draftData] = &draftFile{modified: time.Now()}
	}
	w := &draftWriter{driver: d, draft: n, name: name}
	if n.spilled {
		if w.file, w.err = d.openWriter(name, again); w.err == nil {
			w.size = w.file.Size()
		}
		return w
	}
	w.size = int64(len(n.files[draftData].content))
	return w
}

// spill has the data of a draft be a file. The caller holds the draft's mu.
func (d *Driver) spill(n *draft) (*writer, error) {
	name := path.Join(n.folder, draftData)
	w, err := d.openWriter(name, n.spilled)
	if err != nil || n.spilled {
		return w, err
	}
	if _, err := w.Write(n.files[draftData].content); err != nil {
		_ = w.Close()
		d.uploads.forget(name)
		_ = removeAll(d.files, n.folder)
		return nil, err
	}
	d.dropFile(n, draftData)
	n.spilled = true
	return w, nil
}

// settleDraft has files be what makes an upload one that can be gone on with. The
// caller holds the draft's mu.
func (d *Driver) settleDraft(n *draft) error {
	if !n.spilled && n.files[draftData] != nil {
		w, err := d.spill(n)
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			return err
		}
	}
	if n.begun || n.files[draftStart] == nil {
		return nil
	}
	if err := d.writeUpload(path.Join(n.folder, draftStart), n.files[draftStart].content); err != nil {
		return err
	}
	n.begun = true
	return nil
}

// endDrafts makes files of all drafts.
func (d *Driver) endDrafts() error {
	if d.drafts == nil {
		return nil
	}
	var errs []error
	for _, n := range d.drafts.close() {
		n.mu.Lock()
		if !n.ended {
			errs = append(errs, d.endDraft(n))
		}
		n.mu.Unlock()
	}
	return errors.Join(errs...)
}

func (d *Driver) endDraft(n *draft) error {
	err := d.settleDraft(n)
	for file, f := range n.files {
		if err == nil && file != draftStart {
			err = d.putUploadFile(path.Join(n.folder, file), f.content)
		}
	}
	if err == nil {
		d.drafts.end(n)
	}
	return err
}

// asFiles has an upload be in the file system alone.
func (d *Driver) asFiles(name string) error {
	if d.drafts == nil {
		return nil
	}
	all := d.drafts.below(name)
	if n, _ := d.drafts.of(name); n != nil {
		all = []*draft{n}
	}
	for _, n := range all {
		n.mu.Lock()
		err := error(nil)
		if !n.ended {
			err = d.endDraft(n)
		}
		n.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// hashedBytes is of how many bytes a name below an upload has the hash's state.
func hashedBytes(state string) (int64, error) { return strconv.ParseInt(path.Base(state), 10, 64) }

// flagsOf are those with which the data of an upload is opened.
func flagsOf(again bool) int {
	if again {
		return os.O_WRONLY | os.O_CREATE
	}
	return os.O_WRONLY | os.O_CREATE | os.O_TRUNC
}

// prepareDraft moves what is in memory.
func (d *Driver) prepareDraft(w wanted, content []byte, stays bool) (*step, error) {
	s, err := d.preparePut(wanted{kind: written, path: w.path, content: content, at: w.at}, stays)
	if s == nil && err == nil {
		s = &step{}
	}
	if err != nil {
		return nil, err
	}
	s.draft = w.from
	return s, nil
}

// deleteUpload removes an upload, or what belongs to one.
func (d *Driver) deleteUpload(name string) error {
	any, onFiles := d.deleteDrafts(name)
	if !onFiles {
		if !any {
			return fs.ErrNotExist
		}
		return nil
	}
	d.uploads.forget(name)
	err := removeAll(d.files, name)
	if any && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// draftFile is what is in memory of a path, nil for nothing.
func (d *Driver) draftFile(p string) *draftFile {
	if d.drafts == nil {
		return nil
	}
	name, err := folder(p)
	if err != nil {
		return nil
	}
	return d.drafts.file(name)
}

// statFile says what there is of a name, in memory or in the file system.
func (d *Driver) statFile(name string) (info, error) {
	if d.drafts != nil {
		if n, _ := d.drafts.of(name); n != nil {
			if found, ok := d.drafts.stat(name); ok {
				return found, nil
			}
		}
	}
	found, err := d.files.stat(name)
	if errors.Is(err, fs.ErrNotExist) && d.drafts != nil {
		if found, ok := d.drafts.stat(name); ok {
			return found, nil
		}
	}
	return found, err
}
