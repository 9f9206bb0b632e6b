package catalog_test

import (
	"bytes"
	"math/rand/v2"
)

func randomBytes(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

var _ = bytes.Equal
