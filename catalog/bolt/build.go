package bolt

import (
	"errors"
	"os"
	"strings"
	"sync/atomic"

	bbolt "go.etcd.io/bbolt"
)

// keyBoot is where a file that is being built says since which start of the
// machine it is: what was written to it unsynced is there as long as that lasts.
var keyBoot = []byte("boot")

// building is what an index has that is being built: there is no past of it to log,
// and no more of its file is to be in memory than is looked at.
type building struct{ looked atomic.Uint64 }

// look notes that a transaction looks at something.
func (b *building) look(tx *bbolt.Tx) {
	const atOnce = 64 // each has the system map up to 64 KB for a page or two
	if b.looked.Add(1)%atOnce == 0 {
		sparePages(tx)
	}
}

// bootID names this start of the machine, "" where that is not known.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

// goOn opens the file of a Build that was cut off, or begins one.
func goOn(temporary, identity string) (x *Index, err error) {
	defer func() {
		if x != nil {
			x.building = &building{}
		}
	}()
	if x := left(temporary, identity, bootID()); x != nil {
		return x, nil
	}
	for _, old := range []string{temporary, damaged(temporary)} {
		if err := os.Remove(old); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, advise(temporary, err)
		}
	}
	if x, err = open(temporary, true); err != nil {
		return nil, err
	}
	if err := x.prepare(identity); err != nil {
		return nil, errors.Join(err, x.Close())
	}
	return x, nil
}

// left opens the file of a Build that was cut off, nil if there is none to go on
// with.
func left(temporary, identity, boot string) *Index {
	if keepsFree, err := inspect(temporary); err != nil || !keepsFree || boot == "" {
		return nil
	}
	if _, err := os.Stat(damaged(temporary)); err == nil {
		return nil
	}
	x, err := open(temporary, true)
	if err != nil {
		return nil
	}
	same := false
	err = x.check(identity)
	if err == nil {
		err = x.guarded(func() error {
			return x.db.View(func(tx *bbolt.Tx) error {
				same = string(tx.Bucket(tableNamesInFile[tableMeta]).Get(keyBoot)) == boot
				return nil
			})
		})
	}
	if err != nil || !same {
		_ = x.Close() // it is removed
		return nil
	}
	return x
}
