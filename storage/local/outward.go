package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
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
// nowhere: what is behind it would be missing, without a word.
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
			if _, err := r.Stat(name); err == nil {
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
