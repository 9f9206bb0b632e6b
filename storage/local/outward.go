package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
)

// Links are looked for as far below the root as the folders of namespaces, and
// those of the first digits of digests. To look further would take the longer,
// the more there is.
const (
	namespaces = "docker/registry/v2/repositories"
	prefixes   = "docker/registry/v2/blobs"
)

// CheckLinks returns an error that names the first symbolic link near a root
// which is not followed, because it leads out of it, is absolute, or leads
// nowhere: what is behind it would be missing, without a word. One that stands
// where the layout has nothing, or leads to a file, is a foreign file.
func CheckLinks(root string) error {
	r, err := os.OpenRoot(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer r.Close()
	return fs.WalkDir(r.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.Type()&fs.ModeSymlink != 0 {
			if _, err := r.Stat(name); err == nil || !inLayout(name) {
				return nil
			}
			if behind, err := os.Stat(path.Join(root, name)); err == nil && !behind.IsDir() {
				return nil
			}
			target, err := r.Readlink(name)
			if err != nil {
				return err
			}
			return fmt.Errorf("the symbolic link %s leads to %s and is not followed, since that is not a path within %s: what is behind it would be missing; "+
				"mount it there instead, or set storage.filesystem.rootdirectory to where everything is", path.Join(root, name), target, root)
		}
		depth := strings.Count(name, "/")
		switch {
		case !entry.IsDir() || name == ".":
			return nil
		case path.Dir(name) == namespaces,
			strings.HasPrefix(name, prefixes+"/") && depth >= strings.Count(prefixes, "/")+2,
			depth >= 3 && name != namespaces && name != prefixes && !strings.HasPrefix(name, prefixes+"/"):
			return fs.SkipDir
		}
		return nil
	})
}

// Namespaces, and the folders of digests by their first digits, as the layout
// names them.
var (
	namespaceForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)
	prefixForm    = regexp.MustCompile(`^sha[0-9]+(/[0-9a-f]{2})?$`)
)

// inLayout reports whether the layout has a folder of that name, or may have.
func inLayout(name string) bool {
	if below, ok := strings.CutPrefix(name, namespaces+"/"); ok {
		return namespaceForm.MatchString(below)
	}
	if below, ok := strings.CutPrefix(name, prefixes+"/"); ok {
		return prefixForm.MatchString(below)
	}
	return strings.HasPrefix(namespaces+"/", name+"/") || name == prefixes
}
