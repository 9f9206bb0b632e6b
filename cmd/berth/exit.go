package main

import (
	"errors"

	"github.com/berth-oci/berth/cmd/berth/remote"
)

// The exit statuses by which scripts tell apart what went wrong. Commands that are
// no clients know only 1.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitDenied      = 4
	exitUnavailable = 5
	exitContent     = 6
	exitListAgain   = 7
)

// errListAgain is that changes are not known any more.
var errListAgain = errors.New("list again")

// exitStatus is the one for an error.
func exitStatus(err error) int {
	for _, of := range []struct {
		kind   error
		status int
	}{
		{remote.ErrUsage, exitUsage}, {remote.ErrNotFound, exitNotFound}, {remote.ErrDenied, exitDenied},
		{remote.ErrContent, exitContent}, {errListAgain, exitListAgain}, {remote.ErrUnavailable, exitUnavailable},
	} {
		if errors.Is(err, of.kind) {
			return of.status
		}
	}
	return exitFailed
}

// usageError is an error of usage in its own words.
type usageError struct{ error }

// Is reports whether a kind of errors is meant.
func (usageError) Is(kind error) bool { return kind == remote.ErrUsage }

// Unwrap returns the cause.
func (u usageError) Unwrap() error { return u.error }
