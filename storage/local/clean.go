package local

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// marker is a file in the root while a driver has it open. One that is found at
// the start was left by a process that did not end well.
const marker = ".berth-open"

// temporaryForm is the name of a temporary file: the run that wrote it, and a
// number. No name of the layout begins with a full stop.
var temporaryForm = regexp.MustCompile(`^\.berth-([A-Z2-7]{26})-[0-9]{1,20}\.tmp$`)

// temporary is a name that no other has.
func (d *Driver) temporary() string {
	return ".berth-" + d.run + "-" + strconv.FormatUint(d.number.Add(1), 10) + ".tmp"
}

// ours reports whether a name is one that only the driver itself uses.
func ours(name string) bool {
	return strings.HasPrefix(name, ".berth-") &&
		(name == marker || name == stage || name == generationName || temporaryForm.MatchString(name) || segmentForm.MatchString(name))
}

// mark leaves the marker, and reports whether there was one. Without one, it is
// not cleaned up after: a store that cannot be written can still be read.
func (d *Driver) mark() (unclean, writable bool, err error) {
	f, err := d.files.open(marker, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	switch {
	case errors.Is(err, fs.ErrExist):
		return true, true, nil
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return false, false, nil
	case err != nil:
		return false, false, err
	}
	return false, true, f.Close()
}

// unmark says that everything was ended well, also the cleaning.
func (d *Driver) unmark() error {
	if !d.cleaning.complete {
		return nil
	}
	err := d.files.remove(marker)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EROFS) {
		return nil
	}
	return err
}

// cleaning removes the temporary files of earlier runs, while the driver is in
// use.
type cleaning struct {
	stopping chan struct{}
	once     sync.Once
	ended    chan struct{}
	complete bool // read once ended is closed
}

func (c *cleaning) stop() {
	c.once.Do(func() { close(c.stopping) })
	<-c.ended
}

// clean begins the cleaning, if there may be something to clean.
func (d *Driver) clean(unclean bool) *cleaning {
	c := &cleaning{stopping: make(chan struct{}), ended: make(chan struct{})}
	if !unclean {
		c.complete = true
		close(c.ended)
		return c
	}
	go func() {
		defer close(c.ended)
		c.complete = d.cleanFolder(c, ".")
	}()
	return c
}

// cleanFolder removes temporary files in a folder and below it, and reports
// whether it has seen them all. What it cannot remove stays until the next time.
func (d *Driver) cleanFolder(c *cleaning, folder string) bool {
	all := true
	err := eachName(d.files, folder, func(found string) error {
		select {
		case <-c.stopping:
			return errStopping
		default:
		}
		if m := temporaryForm.FindStringSubmatch(found); m != nil {
			if m[1] != d.run {
				err := removeAll(d.files, path.Join(folder, found))
				all = all && (err == nil || errors.Is(err, fs.ErrNotExist))
			}
			return nil
		}
		// Files of the layout have no folders below them.
		if found == "link" || found == "data" || found == "startedat" || ours(found) {
			return nil
		}
		all = d.cleanFolder(c, path.Join(folder, found)) && all
		return nil
	})
	return all && gone(err) == nil
}

var errStopping = errors.New("the driver is closed")
