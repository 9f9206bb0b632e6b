package registry

import (
	"strings"
	"sync"

	"github.com/berth-oci/berth/storage/reference"
)

// names turns the names that clients use into those under which repositories
// are stored: app is official/app, and utils/tunnel is official/utils/tunnel if
// utils is an official folder. Nobody is asked for it, so that it tells nothing
// about what is stored in a namespace.
type names struct {
	namespace func(string) bool // whether a name is an account's, or granted

	mu      sync.RWMutex
	folders map[string]struct{} // the official folders; filtered by mu
}

// long is the long form of a name.
func (n *names) long(name string) string {
	first, _, deep := strings.Cut(name, "/")
	if !deep {
		return reference.Long(name)
	}
	if first == reference.Official || n.namespace(first) || !n.isFolder(first) {
		return name
	}
	return reference.Long(name)
}

func (n *names) isFolder(name string) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	_, ok := n.folders[name]
	return ok
}

// stored notes that there is an image in a repository.
func (n *names) stored(repository string) {
	folder := reference.Folder(repository)
	if folder == "" || n.isFolder(folder) {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.folders[folder] = struct{}{}
}
