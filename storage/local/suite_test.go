package local

import (
	"flag"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"testing"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory" // the suite's flags
	"github.com/distribution/distribution/v3/registry/storage/driver/testsuites"
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage"
	"github.com/berth-oci/berth/storage/storagetest"
	"github.com/berth-oci/berth/test/scratch"
)

// openers are the ways in which the driver uses a file system.
var openers = map[string]func(root string) (files, error){
	"as the system does it best": openFiles,
	"a folder at a time":         openRooted,
	"without a barrier": func(root string) (files, error) {
		f, err := openFiles(root)
		return noBarrier{f}, err
	},
}

// rootFor is a folder for a suite: on a disk where the driver uses that as it does
// outside of tests.
func rootFor(t *testing.T, opener string) string {
	t.Helper()
	if opener == "as the system does it best" {
		return t.TempDir()
	}
	return scratch.TempDir(t)
}

// noBarrier is a file system whose files and folders are synced one by one, and of
// which nothing is trusted at the start.
type noBarrier struct{ files }

func (noBarrier) hasBarrier() bool       { return false }
func (noBarrier) settled() (bool, error) { return false, nil }

func openWith(t testing.TB, opener func(string) (files, error), root string) *Driver {
	t.Helper()
	f, err := opener(root)
	if err != nil {
		t.Fatal(err)
	}
	d, err := open(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// openLocal opens a driver on a folder.
func openLocal(t testing.TB, root string) *Driver {
	t.Helper()
	return openWith(t, openFiles, root)
}

// TestStorage runs the suite of berth's storage.
func TestStorage(t *testing.T) {
	for name, opener := range openers {
		t.Run(name, func(t *testing.T) {
			storagetest.Run(t, func(t *testing.T) *storage.Store {
				d := openWith(t, opener, rootFor(t, name))
				s, err := storage.Open(t.Context(), storage.OpenedDriver, map[string]any{"driver": storagedriver.StorageDriver(d)})
				if err != nil {
					t.Fatal(err)
				}
				return s
			})
		})
	}
}

// TestDistribution runs distribution's own suite for drivers. Its long form
// writes 5 GB, so this is the short one, and without TestStatCall, which sleeps
// for 15 seconds: storagetest stats files and folders as well.
func TestDistribution(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: writes some hundred megabytes")
	}
	for name, value := range map[string]string{"test.short": "true", "testify.m": "^Test([^S]|S[^t])"} {
		before := flag.Lookup(name).Value.String()
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := flag.Set(name, before); err != nil {
				t.Error(err)
			}
		})
	}
	for name, opener := range openers {
		t.Run(name, func(t *testing.T) {
			d := openWith(t, opener, rootFor(t, name))
			testsuites.Driver(t, func() (storagedriver.StorageDriver, error) { return d, nil }, false)
		})
	}
}

// TestSameLayout checks that distribution's driver serves what this one wrote,
// and the other way round, an upload that is open included.
func TestSameLayout(t *testing.T) {
	root := t.TempDir()
	ours := openLocal(t, root)
	theirs := filesystem.New(filesystem.DriverParameters{RootDirectory: root, MaxThreads: 100})
	for i, pair := range [][2]storagedriver.StorageDriver{{ours, theirs}, {theirs, ours}} {
		writes, reads := pair[0], pair[1]
		content := "content " + string(rune('0'+i))
		dgst := digest.FromString(content)
		folder := repositories + "a/app/_uploads/1"
		w, err := writes.Writer(t.Context(), folder+"/data", false)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content[:4]); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if w, err = reads.Writer(t.Context(), folder+"/data", true); err != nil || w.Size() != 4 {
			t.Fatalf("an upload of the other is not gone on with: %v", err)
		}
		if _, err := io.WriteString(w, content[4:]); err != nil {
			t.Fatal(err)
		}
		if err := w.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := writes.Move(t.Context(), folder+"/data", blobPath(dgst)); err != nil {
			t.Fatal(err)
		}
		if err := writes.PutContent(t.Context(), layerLink("a/app", dgst), []byte(dgst)); err != nil {
			t.Fatal(err)
		}
		for p, want := range map[string]string{blobPath(dgst): content, layerLink("a/app", dgst): dgst.String()} {
			if got, err := reads.GetContent(t.Context(), p); err != nil || string(got) != want {
				t.Errorf("%s: got %q, %v, want %q", p, got, err, want)
			}
		}
		var a, b []string
		for _, list := range []struct {
			driver storagedriver.StorageDriver
			to     *[]string
		}{{ours, &a}, {theirs, &b}} {
			err := list.driver.Walk(t.Context(), "/docker", func(f storagedriver.FileInfo) error {
				if !ourOwn(f.Path()) {
					*list.to = append(*list.to, f.Path())
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(a, b) || len(a) == 0 {
			t.Errorf("they see different files:\n%v\n%v", a, b)
		}
		if err := reads.Delete(t.Context(), layerLink("a/app", dgst)); err != nil {
			t.Error(err)
		}
		if _, err := writes.Stat(t.Context(), layerLink("a/app", dgst)); !isMissing(err) {
			t.Errorf("what the other deleted: %v", err)
		}
	}
}

// ourOwn reports whether a path is one that only this driver uses, which
// distribution's shows.
func ourOwn(p string) bool { return ours(path.Base(p)) }

// TestOpenByFactory checks the parameters, which are those of distribution's
// driver.
func TestOpenByFactory(t *testing.T) {
	root := filepath.Join(t.TempDir(), "new", "folder")
	for _, threads := range []any{nil, 8, "50", uint64(200)} {
		made, err := opener{}.Create(t.Context(), map[string]any{"rootdirectory": root, "maxthreads": threads})
		if err != nil {
			t.Fatalf("%v: %v", threads, err)
		}
		if made.Name() != "filesystem" {
			t.Errorf("its name is %q", made.Name())
		}
		if to, err := made.RedirectURL(&http.Request{}, "/a"); to != "" || err != nil {
			t.Errorf("clients are sent to %q, %v", to, err)
		}
		if err := made.(*Driver).Close(); err != nil {
			t.Error(err)
		}
	}
	if info, err := os.Stat(root); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("the folder is %v, %v, want it for the owner alone", info, err)
	}
	if _, err := (opener{}).Create(t.Context(), map[string]any{"rootdirectory": root, "maxthreads": "many"}); err == nil {
		t.Error("a number of threads that is none is taken")
	}
}
