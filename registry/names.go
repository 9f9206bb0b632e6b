package registry

import (
	"strings"
	"sync"

	"github.com/berth-oci/berth/registry/access"
)

// names turns the names that clients use into those under which repositories
// are stored: app is official/app, and utils/tunnel is official/utils/tunnel if
// utils is an official folder. Nobody is asked for it, so that it tells nothing
// about what is stored in a namespace.
type names struct {
	namespace func(string) bool // whether a name is an account's, or granted

	mu      sync.RWMutex
	folders map[string]struct{} // the official folders; guarded by mu
}

const officialPrefix = access.Official + "/"

// long is the long form of a name.
func (n *names) long(name string) string {
	first, _, deep := strings.Cut(name, "/")
	if !deep {
		return officialPrefix + name
	}
	if first == access.Official || n.namespace(first) || !n.isFolder(first) {
		return name
	}
	return officialPrefix + name
}

func (n *names) isFolder(name string) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	_, ok := n.folders[name]
	return ok
}

// folderOf is the official folder that a repository lies in, "" for none.
func folderOf(repository string) string {
	below, ok := strings.CutPrefix(repository, officialPrefix)
	folder, _, deep := strings.Cut(below, "/")
	if !ok || !deep {
		return ""
	}
	return folder
}

// stored notes that there is an image in a repository.
func (n *names) stored(repository string) {
	folder := folderOf(repository)
	if folder == "" || n.isFolder(folder) {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.folders[folder] = struct{}{}
}
