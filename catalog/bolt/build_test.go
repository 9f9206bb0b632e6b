package bolt

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	bbolt "go.etcd.io/bbolt"
)

// TestBuildGoesOn: what a Build that was cut off has done is not done again; not
// after the machine has started, or for another storage, or where it is damaged.
func TestBuildGoesOn(t *testing.T) {
	if bootID() == "" {
		t.Skip("the system does not say when it has started")
	}
	cutOff := errors.New("cut off")
	for name, c := range map[string]struct {
		identity string
		between  func(t *testing.T, path string)
		kept     bool
	}{
		"at once":       {place1, func(*testing.T, string) {}, true},
		"other storage": {"elsewhere", func(*testing.T, string) {}, false},
		"damaged":       {place1, func(t *testing.T, path string) { must(t, os.Truncate(path, 9000)) }, false},
		"after a start": {place1, func(t *testing.T, path string) { setMeta(t, path, keyBoot, "another") }, false},
		"older form":    {place1, func(t *testing.T, path string) { setMeta(t, path, keySchema, "2") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "catalog.db")
			_, err := Build(path, place1, func(x *Index) error {
				push(t, x, sampleOf(1))
				return cutOff
			})
			if !errors.Is(err, cutOff) {
				t.Fatal(err)
			}
			c.between(t, path+".new")
			found := false
			x, err := Build(path, c.identity, func(x *Index) error {
				st, err := x.Stats(t.Context())
				found = st.Manifests > 0
				return err
			})
			must(t, err)
			must(t, x.Close())
			if found != c.kept {
				t.Errorf("what was there is kept: %v, want %v", found, c.kept)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func setMeta(t *testing.T, path string, key []byte, value string) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	must(t, err)
	must(t, db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(tableNamesInFile[tableMeta]).Put(key, []byte(value))
	}))
	must(t, db.Close())
}
