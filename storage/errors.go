package storage

import (
	"errors"
	"slices"
	"syscall"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
)

// Code is the kind of a failure: all that a caller has to know to go on, and
// what each HTTP form turns into a status, in one place.
type Code int

const (
	// Unavailable: storage or index could not be read or written; nothing can
	// be concluded, and it may be tried again. It is also the code of every
	// error that has none.
	Unavailable Code = iota
	// NotFound: there is no such repository, manifest, tag, link or blob.
	NotFound
	// Conflict: something else changed meanwhile; what was read has to be read
	// again.
	Conflict
	// Invalid: the request can never succeed as it is.
	Invalid
	// Quota: the namespace has no room for it.
	Quota
	// Full: the disk has no room for it.
	Full
	// Damaged: something is stored that cannot be what it should.
	Damaged
	// TooLarge: it is larger than berth reads or takes.
	TooLarge
	// TooMany: there are as many at a time as there may be.
	TooMany
	// Immutable: the tag points to something else, and may not be moved.
	Immutable
)

// String names the code, for logs.
func (c Code) String() string {
	names := [...]string{"unavailable", "not found", "conflict", "invalid", "quota exceeded", "disk full", "damaged", "too large", "too many", "immutable"}
	if c < 0 || int(c) >= len(names) {
		return "unknown"
	}
	return names[c]
}

// Error is a failure with its [Code]. Two errors of the same code match in
// [errors.Is] if the target has neither message nor cause, as [ErrNotFound]
// and its like.
type Error struct {
	Code Code
	// Message is what a client may be told, "" for nothing beyond the code. It
	// holds no paths and no Go errors.
	Message string
	// Err is the cause, for the log; it may be nil.
	Err error
}

// Error implements error.
func (e *Error) Error() string {
	text := e.Message
	if text == "" {
		text = e.Code.String()
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target stands for the error's code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Message == "" && t.Err == nil
}

var (
	// ErrNotFound is returned where a repository, manifest, tag, link or blob
	// is not stored.
	ErrNotFound error = &Error{Code: NotFound}
	// ErrDamaged wraps ErrNotFound: a link without a valid digest. Nobody can
	// be served what it stands for, and it must not stop the rest.
	ErrDamaged error = &Error{Code: Damaged, Err: ErrNotFound}
	// ErrTooLarge is returned for a manifest larger than [MaxManifestBytes],
	// which another registry may have stored.
	ErrTooLarge error = &Error{Code: TooLarge}
	// ErrConflict is returned where something else changed meanwhile.
	ErrConflict error = &Error{Code: Conflict}
)

// CodeOf returns the code of an error, whichever package it comes from: those
// of distribution's drivers and of the operating system are recognized too. It
// must not be nil.
func CodeOf(err error) Code {
	var known *Error
	var missing storagedriver.PathNotFoundError
	var driver storagedriver.Error
	switch {
	case errors.As(err, &known):
		return known.Code
	case isFull(err):
		return Full
	case errors.As(err, &missing):
		return NotFound
	case errors.As(err, &driver) && driver.Detail != nil:
		return CodeOf(driver.Detail) // it hides its cause from errors.Is
	}
	return Unavailable
}

// isFull reports whether there was no room for what failed. It is asked before
// what else is joined to the error: a driver that could not write a file may not
// find it either when it removes it.
func isFull(err error) bool {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return true
	}
	switch e := err.(type) {
	case storagedriver.Error: // it hides its cause from errors.Is
		return isFull(e.Detail)
	case interface{ Unwrap() error }:
		return isFull(e.Unwrap())
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(e.Unwrap(), isFull)
	}
	return false
}
