//go:build !linux

package harness

import "syscall"

func endsWithTest() *syscall.SysProcAttr { return nil }
