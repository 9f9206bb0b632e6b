package bolt

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bbolt "go.etcd.io/bbolt"
)

// TestMapping gives back pages of the file alone: it may be larger than what is
// mapped of it, and what is behind that belongs to somebody else.
func TestMapping(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	larger := false
	for n := range 12 {
		err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("b"))
			if err == nil {
				err = b.Put(fmt.Append(nil, n), make([]byte, 4<<20))
			}
			if err == nil {
				err = inMapping(tx, path)
			}
			return err
		})
		if err == nil {
			err = db.View(func(tx *bbolt.Tx) error { return inMapping(tx, path) })
		}
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		end, err := mappedEnd(path, db.Info().Data)
		if err != nil {
			t.Fatal(err)
		}
		larger = larger || uintptr(info.Size()) > end-db.Info().Data
	}
	if !larger {
		t.Error("the file was never larger than what is mapped of it: this tests nothing")
	}
}

// inMapping returns an error unless mapping is within what is mapped of a file.
func inMapping(tx *bbolt.Tx, path string) error {
	start, size := mapping(tx)
	end, err := mappedEnd(path, start)
	if err == nil && start+size > end {
		err = fmt.Errorf("%d bytes are behind what is mapped", start+size-end)
	}
	return err
}

// mappedEnd is where that ends which is mapped of a file at an address.
func mappedEnd(path string, start uintptr) (end uintptr, err error) {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(maps)) {
		var from, to uintptr
		if n, _ := fmt.Sscanf(line, "%x-%x", &from, &to); n == 2 && from == start && strings.HasSuffix(strings.TrimSpace(line), path) {
			return to, nil
		}
	}
	return 0, fmt.Errorf("%s is not mapped at %x", path, start)
}
