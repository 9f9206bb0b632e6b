//go:build !linux && !darwin

package main

import (
	"errors"
	"os"
)

func disk(*os.File) (free, size uint64, err error) { return 0, 0, errors.ErrUnsupported }
