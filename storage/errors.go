package storage

import (
	"errors"
	"fmt"
)

// ErrNotFound is returned where a repository, manifest, tag, link or blob is
// not stored. Every other error means that storage could not be read or
// written, and nothing can be concluded from it.
var ErrNotFound = errors.New("not found in storage")

// ErrDamaged is what [ErrNotFound] is called where something is stored that
// cannot be what it should: a link that holds no digest. Nobody can be served
// what it stands for, and one of these must not stop the rest.
var ErrDamaged = fmt.Errorf("damaged: %w", ErrNotFound)

// ErrTooLarge is returned for a manifest larger than [MaxManifestBytes], which
// another registry may have stored.
var ErrTooLarge = errors.New("manifest is too large")
