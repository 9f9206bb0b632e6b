//go:build !linux

package peers

import (
	"errors"
	"syscall"
	"time"
)

func endsWithThis() *syscall.SysProcAttr { return nil }

var errNotHere = errors.New("what a process costs is only measured on Linux")

// CPU is only measured on Linux.
func (s *Server) CPU() (time.Duration, error) { return 0, errNotHere }

// ResetPeak is only measured on Linux.
func (s *Server) ResetPeak() error { return errNotHere }

// Peak is only measured on Linux.
func (s *Server) Peak() int64 { return 0 }

// Resident is only measured on Linux.
func (s *Server) Resident() int64 { return 0 }

// Own is only measured on Linux.
func (s *Server) Own() int64 { return 0 }

// FileSystem is only known on Linux.
func FileSystem(string) string { return "unknown" }

// Settle does nothing.
func Settle() {}
