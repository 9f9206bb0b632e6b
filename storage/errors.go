package storage

import "errors"

// ErrNotFound is returned where a repository, manifest, tag, link or blob is
// not stored. Every other error means that storage could not be read or
// written, and nothing can be concluded from it.
var ErrNotFound = errors.New("not found in storage")
