package local

import (
	"path"
	"strings"
	"sync"
	"time"
)

// An upload of which nobody was told that it has received anything is in memory,
// as a draft, and costs the file system nothing, which pays most for files that
// come and go. Its data moves into a file once it is more than the journal takes,
// and with it what is beside the data once a chunk has ended, or the driver does,
// so that the upload can be gone on with. How far its hash has come follows when
// the driver ends.

// What drafts take at most, so that they are files beyond it.
const (
	maxDrafts     = 4096
	maxDraftBytes = 8 << 20
)

// uploadFolders are where uploads are: an upload's folder is
// "<repository>/_uploads/<id>" below it.
const uploadFolders = "docker/registry/v2/repositories/"

// drafts are the uploads in progress that are in memory, at least in part.
type drafts struct {
	mu   sync.Mutex
	open map[string]*draft // by folder; guarded by mu, as all below
	// names counts, for each folder above a draft, by what name it leads there.
	names  map[string]map[string]int
	bytes  int  // of data
	closed bool // no other begins
}

// draft is an upload, or the part of it that no file has.
type draft struct {
	folder string

	mu sync.Mutex
	// files are the contents in memory, by their path below the folder; guarded by
	// mu, as all below.
	files map[string]*draftFile
	// spilled says that the data is a file, and begun that startedat is one too.
	spilled, begun bool
	ended          bool
}

type draftFile struct {
	content  []byte
	modified time.Time
}

const (
	draftStart = "startedat"
	draftData  = "data"
)

// newDrafts has no draft ever begin where nothing can be written.
func newDrafts(writable bool) *drafts {
	return &drafts{open: make(map[string]*draft), names: make(map[string]map[string]int), closed: !writable}
}

// cutUpload cuts a name into the folder of an upload, and what is below it.
func cutUpload(name string) (folder, below string, ok bool) {
	if !strings.HasPrefix(name, uploadFolders) {
		return "", "", false
	}
	const mark = "/_uploads/"
	at := strings.Index(name, mark)
	if at < 0 {
		return "", "", false
	}
	id, below, _ := strings.Cut(name[at+len(mark):], "/")
	return name[:at+len(mark)+len(id)], below, id != ""
}

// of returns the draft that a name belongs to, nil if there is none, and the path
// below its folder.
func (d *drafts) of(name string) (*draft, string) {
	folder, below, ok := cutUpload(name)
	if !ok {
		return nil, ""
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open[folder], below
}

// begin makes a draft, unless there are too many.
func (d *drafts) begin(folder string) *draft {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || len(d.open) >= maxDrafts || d.open[folder] != nil {
		return nil
	}
	n := &draft{folder: folder, files: make(map[string]*draftFile)}
	d.open[folder] = n
	d.lead(folder, +1)
	return n
}

// lead counts a draft for all folders above it. The caller holds mu.
func (d *drafts) lead(folder string, n int) {
	for at := folder; at != "."; {
		above, name := path.Dir(at), path.Base(at)
		names := d.names[above]
		if names == nil {
			names = make(map[string]int)
			d.names[above] = names
		}
		if names[name] += n; names[name] == 0 {
			if delete(names, name); len(names) == 0 {
				delete(d.names, above)
			}
		}
		at = above
	}
}

// end drops a draft. The caller holds its mu.
func (d *drafts) end(n *draft) {
	if n.ended {
		return
	}
	n.ended = true
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := n.files[draftData]; f != nil {
		d.bytes -= len(f.content)
	}
	delete(d.open, n.folder)
	d.lead(n.folder, -1)
}

// take has room for bytes of data, or gives some back, and reports whether there
// is room.
func (d *drafts) take(bytes int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if bytes > 0 && d.bytes+bytes > maxDraftBytes {
		return false
	}
	d.bytes += bytes
	return true
}

// below returns the drafts in a folder, or that of the folder itself.
func (d *drafts) below(name string) (found []*draft) {
	if folder, _, ok := cutUpload(name); ok { // as nearly always
		d.mu.Lock()
		defer d.mu.Unlock()
		if n := d.open[folder]; n != nil && n.folder == name {
			found = append(found, n)
		}
		return found
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.names[name]) == 0 {
		return nil
	}
	for folder, n := range d.open {
		if within(folder, name) {
			found = append(found, n)
		}
	}
	return found
}

// close returns the drafts that there are; no other begins any more.
func (d *drafts) close() (all []*draft) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for _, n := range d.open {
		all = append(all, n)
	}
	return all
}

// list adds the names that drafts give a folder. is says that they make it one,
// whether it is in the file system or not.
func (d *drafts) list(folder string, names []string) (all []string, is bool) {
	if n, below := d.of(folder); n != nil {
		return n.list(below, names)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	more := d.names[folder]
	if len(more) == 0 {
		return names, false
	}
	there := make(map[string]bool, len(names))
	for _, name := range names {
		there[name] = true
	}
	for name := range more {
		if !there[name] {
			names = append(names, name)
		}
	}
	return names, true
}

func (n *draft) list(folder string, names []string) (all []string, is bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		return names, false
	}
	there := make(map[string]bool, len(names))
	for _, name := range names {
		there[name] = true
	}
	is = folder == ""
	for file := range n.files {
		rest := file
		if folder != "" {
			var below bool
			if rest, below = strings.CutPrefix(file, folder+"/"); !below {
				continue
			}
		}
		is = true
		if name, _, _ := strings.Cut(rest, "/"); !there[name] {
			there[name] = true
			names = append(names, name)
		}
	}
	return names, is
}

// file returns a content that is in memory, nil if it is not. What it points to
// is not written to any more.
func (d *drafts) file(name string) *draftFile {
	n, below := d.of(name)
	if n == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	f := n.files[below]
	if f == nil {
		return nil
	}
	return &draftFile{f.content[:len(f.content):len(f.content)], f.modified}
}

// stat is what is known of a file or folder of drafts; false if nothing is.
func (d *drafts) stat(name string) (found info, ok bool) {
	if f := d.file(name); f != nil {
		return info{size: int64(len(f.content)), modified: f.modified}, true
	}
	if _, is := d.list(name, nil); is {
		return info{dir: true, modified: time.Now()}, true
	}
	return info{}, false
}
