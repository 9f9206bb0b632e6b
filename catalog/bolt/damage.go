package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"sync/atomic"
	"syscall"
)

// bbolt trusts its file: it checks a sum of the two pages that it begins with,
// and of every other page its number and its kind, and panics where they are
// wrong; what a page points to outside of the file is a fault. So whatever
// touches the file is guarded. Once damage has been met, nothing is written any
// more, since what is free of the file is not known; what can be read is read.
// The damage is noted in a file beside the index, so that the next start builds
// it anew, which takes nothing away: storage is the truth.

// ErrDamaged is returned where the file is not what berth wrote. It is then built
// anew with [Build].
var ErrDamaged = errors.New("the index is damaged")

// damaged is the file that says of an index that it is.
func damaged(path string) string { return path + ".damaged" }

// guard runs what touches the file at path, and turns what damage makes of it
// into an error.
func guard(path string, fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = noteDamage(path, fmt.Sprint(r))
		}
	}()
	if err = fn(); errors.Is(err, errValue) {
		err = noteDamage(path, err.Error())
	}
	return err
}

// noteDamage notes the damage for the next start, and says what to do.
func noteDamage(path, what string) error {
	advice := "restart berth, which makes it again from storage"
	if err := os.WriteFile(damaged(path), []byte(what+"\n"), 0o600); err != nil {
		advice = fmt.Sprintf("that could not be noted (%v): stop berth, see that the disk can be written, and delete the file; berth then makes it again from storage", err)
	}
	return fmt.Errorf("%w: %s: %s; %s", ErrDamaged, path, what, advice)
}

// health is whether damage has been met.
type health struct{ err atomic.Pointer[error] }

func (h *health) met(err error) error {
	if errors.Is(err, ErrDamaged) {
		h.err.CompareAndSwap(nil, &err)
	}
	return err
}

// error is the damage that was met first, nil for none.
func (h *health) error() error {
	if err := h.err.Load(); err != nil {
		return *err
	}
	return nil
}

// The form of the pages that a bbolt file begins with.
const (
	pageHeader = 16
	metaLength = 64
	metaMagic  = 0xED0CDAED
	noFreelist = ^uint64(0)
)

// meta is what such a page says.
type meta struct{ pageSize, root, freelist, pages, transaction uint64 }

// inspect looks at what the file begins with, before bbolt does: it returns
// ErrDamaged if there is no such page that is whole, or if the file is shorter than
// it says. keepsFree reports whether its free pages are written down; where they
// are not, bbolt would read all of the file to find them.
func inspect(path string) (keepsFree bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	if !info.Mode().IsRegular() {
		return false, fmt.Errorf("index %s is no file", path)
	}
	m, found, err := newestMeta(f)
	switch {
	case err != nil:
		return false, err
	case !found:
		return false, noteDamage(path, "it does not begin as an index does")
	case m.pages > uint64(info.Size())/m.pageSize: //nolint:gosec // not negative
		return false, noteDamage(path, fmt.Sprintf("it has %d bytes, and should have %d pages of %d", info.Size(), m.pages, m.pageSize))
	}
	return m.freelist != noFreelist, nil
}

// newestMeta reads both, of which the newer counts. bbolt goes on with the older
// one if the other is damaged, and would forget what was written last; where a
// power cut tears the newer one, which is less than a sector, nothing is lost that
// storage does not have.
func newestMeta(f io.ReaderAt) (newest meta, found bool, err error) {
	first, whole, err := readMeta(f, 0)
	if err != nil || !whole {
		return meta{}, false, err
	}
	second, whole, err := readMeta(f, int64(first.pageSize)) //nolint:gosec // 32 bits
	// Transactions write them in turn.
	whole = whole && first.transaction%2 == 0 && second.transaction%2 == 1
	if second.transaction > first.transaction {
		return second, whole, err
	}
	return first, whole, err
}

func readMeta(f io.ReaderAt, at int64) (m meta, whole bool, err error) {
	var b [pageHeader + metaLength]byte
	if _, err := f.ReadAt(b[:], at); errors.Is(err, io.EOF) {
		return meta{}, false, nil
	} else if err != nil {
		return meta{}, false, err
	}
	m, whole = decodeMeta(b[pageHeader:])
	return m, whole, nil
}

func decodeMeta(b []byte) (m meta, whole bool) {
	sum := fnv.New64a()
	_, _ = sum.Write(b[:metaLength-8])
	order := binary.NativeEndian
	m = meta{
		pageSize: uint64(order.Uint32(b[8:])), root: order.Uint64(b[16:]),
		freelist: order.Uint64(b[32:]), pages: order.Uint64(b[40:]), transaction: order.Uint64(b[48:]),
	}
	return m, order.Uint32(b) == metaMagic && order.Uint64(b[56:]) == sum.Sum64() && m.pageSize > 0
}

// advise says what to do where a file cannot be opened or written.
func advise(path string, err error) error {
	switch {
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("index %s: %w: the disk is mounted read-only; mount it writable, or set catalog.path to a file on one that is", path, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("index %s: %w: let berth's user write it and its folder, or set catalog.path to another file", path, err)
	}
	return fmt.Errorf("index %s cannot be opened: %w", path, err)
}
