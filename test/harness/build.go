package harness

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Program is a program that tests build and run. All packages of a go test
// share what one of them has built.
type Program struct {
	modfile, source string
	built           func() (string, error)
}

// NewProgram names a program by the path of its package, and by the module file
// that it is built with, below the module's root; "" is go.mod.
func NewProgram(modfile, source string) *Program {
	p := &Program{modfile: modfile, source: source}
	p.built = sync.OnceValues(p.build)
	return p
}

// Path builds the program, unless that was done already, and returns where it
// is. The error has what the compiler said.
func (p *Program) Path() (string, error) { return p.built() }

var berth = NewProgram("", "github.com/berth-oci/berth/cmd/berth")

// Binary is the berth of this module.
func Binary(t testing.TB) string {
	t.Helper()
	file, err := berth.Path()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// Root is the folder of this module.
var Root = sync.OnceValue(func() string {
	dir, err := os.Getwd()
	for ; err == nil && dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	panic("tests run in a folder of a module")
})

// cacheDir is a folder of this module's own, in which packages that run at the
// same time, and after each other, find what another has built.
var cacheDir = sync.OnceValues(func() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = filepath.Join(os.TempDir(), fmt.Sprint("cache-", os.Getuid()))
	}
	of := sha256.Sum256([]byte(Root()))
	dir := filepath.Join(cache, "berth-test", hex.EncodeToString(of[:8]))
	return dir, os.MkdirAll(dir, 0o700)
})

// SameFolder is an empty folder that has the same path in every run, until the test
// ends: what go builds in it, it has in its cache the next time. A test elsewhere that
// wants one by the same name waits.
func SameFolder(t testing.TB, name string) string {
	t.Helper()
	cache, err := cacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "folders", name)
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	unlock, err := lock(dir + ".lock")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
		unlock()
	})
	if err := os.RemoveAll(dir); err != nil { // of who was killed
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func (p *Program) build() (string, error) {
	dir, err := cacheDir()
	if err != nil {
		return "", err
	}
	if err := watchSources(); err != nil {
		return "", err
	}
	name := path.Base(p.source)
	unlock, err := lock(filepath.Join(dir, name+".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	// What is there and still right is left as it is, after a look that is short.
	made := filepath.Join(dir, name)
	arguments := []string{"build", "-o", made}
	if p.modfile != "" {
		arguments = append(arguments, "-modfile="+p.modfile)
	}
	build := exec.Command("go", append(arguments, p.source)...)
	build.Dir = Root()
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", p.source, err, out)
	}
	return keep(dir, made)
}

// keep gives a program a name that no other build of it gets: tests that run
// while another go test builds from changed sources go on with what they began.
func keep(dir, made string) (string, error) {
	file, err := os.Open(made)
	if err != nil {
		return "", err
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return "", err
	}
	builds := filepath.Join(dir, filepath.Base(made)+"-builds")
	own := filepath.Join(builds, hex.EncodeToString(sum.Sum(nil)[:8]))
	kept := filepath.Join(own, filepath.Base(made))
	if _, err := os.Stat(kept); err != nil {
		if err := os.MkdirAll(own, 0o700); err != nil {
			return "", err
		}
		if err := os.Link(made, kept); err != nil {
			return "", err
		}
	}
	now := time.Now()
	if err := os.Chtimes(own, now, now); err != nil {
		return "", err
	}
	all, err := os.ReadDir(builds)
	if err != nil {
		return "", err
	}
	for _, one := range all {
		if info, err := one.Info(); err == nil && now.Sub(info.ModTime()) > 24*time.Hour {
			err = os.RemoveAll(filepath.Join(builds, one.Name()))
			if err != nil {
				return "", err
			}
		}
	}
	return kept, nil
}

// watchSources looks at every source of berth, which go test notes: it would
// otherwise answer from its cache when berth has changed and the test has not.
var watchSources = sync.OnceValue(func() error {
	return filepath.WalkDir(Root(), func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && file != Root() && (strings.HasPrefix(entry.Name(), ".") && entry.Name() != ".ci" || entry.Name() == "testdata"):
			return filepath.SkipDir
		case entry.IsDir() || strings.HasSuffix(file, "_test.go"):
			return nil
		}
		for _, end := range []string{".go", ".mod", ".sum"} {
			if strings.HasSuffix(file, end) {
				if _, err := os.Stat(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
			}
		}
		return nil
	})
})
