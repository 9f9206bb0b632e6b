package local

import (
	"errors"
	"io/fs"
	"path"
	"strings"
	"time"
)

// draftUpload takes up a file of an upload's state, and reports whether it is in
// memory then. An upload that was there before is not.
func (d *Driver) draftUpload(name string, content []byte) bool {
	folder, below, ok := cutUpload(name)
	if !ok || len(content) > d.small {
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
func (d *Driver) openDraft(name string, again bool) (w *draftWriter, err error) {
	n, below := d.drafts.of(name)
	if n == nil || below != draftData {
		return nil, nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		return nil, nil
	}
	if f := n.files[draftData]; f != nil && !again && !n.spilled {
		d.dropFile(n, draftData)
	}
	if n.files[draftData] == nil && !n.spilled {
		n.files[draftData] = &draftFile{modified: time.Now()}
	}
	w = &draftWriter{driver: d, draft: n, name: name}
	if !n.spilled {
		w.size = int64(len(n.files[draftData].content))
		return w, nil
	}
	if w.file, err = d.openWriter(name, again); err != nil {
		return nil, err
	}
	w.size = w.file.Size()
	return w, nil
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
	var errs []error
	for _, n := range d.drafts.close() {
		errs = append(errs, d.endDraft(n))
	}
	return errors.Join(errs...)
}

// endDraft makes files of a draft, unless it has ended.
func (d *Driver) endDraft(n *draft) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		return nil
	}
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
	all := d.drafts.below(name)
	if n, _ := d.drafts.of(name); n != nil {
		all = []*draft{n}
	}
	for _, n := range all {
		if err := d.endDraft(n); err != nil {
			return err
		}
	}
	return nil
}

// prepareDraft moves what is in memory.
func (d *Driver) prepareDraft(w wanted, content []byte, stays bool) (*step, error) {
	s, err := d.preparePut(wanted{kind: written, path: w.path, content: content, at: w.at}, stays)
	if err != nil {
		return nil, err
	}
	if s == nil { // it is there already
		s = &step{}
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

// statFile says what there is of a name, in memory or in the file system.
func (d *Driver) statFile(name string) (info, error) {
	if n, _ := d.drafts.of(name); n != nil {
		if found, ok := d.drafts.stat(name); ok {
			return found, nil
		}
	}
	found, err := d.files.stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		if found, ok := d.drafts.stat(name); ok {
			return found, nil
		}
	}
	return found, err
}
