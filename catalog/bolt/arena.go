package bolt

import (
	"bytes"
	"encoding/hex"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
)

// arena holds what an answer is made of: many small strings and slices, which it
// allocates in large pieces. They stay as long as any of a piece is used, so that
// an arena is for what is read together and let go together. A nil arena
// allocates each by itself.
type arena struct {
	// piece is how many bytes of text are allocated at a time, and many by how many
	// elements slices are.
	piece, many int

	text      strings.Builder
	strings   slab[string]
	parts     slab[image.Part]
	platforms slab[image.Platform]

	// dictionaries are those that were read last: images of one program often have
	// the same environment and labels.
	dictionaries [2]struct {
		value []byte // as it is stored
		m     map[string]string
	}
}

// sameDictionary returns a dictionary that was read before and is what a value
// begins with, and how long that is; 0 for none.
func (a *arena) sameDictionary(value []byte) (m map[string]string, length int) {
	if a == nil {
		return nil, 0
	}
	for _, d := range a.dictionaries {
		if len(d.value) > 0 && bytes.HasPrefix(value, d.value) {
			return d.m, len(d.value)
		}
	}
	return nil, 0
}

func (a *arena) keepDictionary(value []byte, m map[string]string) {
	if a != nil {
		a.dictionaries[0] = a.dictionaries[1]
		a.dictionaries[1].value, a.dictionaries[1].m = value, m
	}
}

// room makes room for so many bytes of text, which then stand together.
func (a *arena) room(n int) {
	if a.text.Cap()-a.text.Len() < n {
		a.text = strings.Builder{} // what was handed out keeps the old piece
		a.text.Grow(max(n, a.piece))
	}
}

// string returns bytes as text.
func (a *arena) string(b []byte) string {
	if a == nil {
		return string(b)
	}
	a.room(len(b))
	begin := a.text.Len()
	a.text.Write(b)
	return a.text.String()[begin:]
}

// digest returns the text of what cutRaw has cut.
func (a *arena) digest(raw []byte) digest.Digest {
	if raw[0] == 0 {
		return digest.Digest(a.string(rawText(raw)))
	}
	var text [len("sha512:") + 2*64]byte
	b := append(append(text[:0], algorithms[raw[0]]...), ':')
	b = hex.AppendEncode(b, raw[1:])
	return digest.Digest(a.string(b))
}

// slab hands out slices of arrays.
type slab[T any] struct{ left []T }

// take returns so many zero elements, nil for none. many is how many are allocated
// at a time.
func (s *slab[T]) take(n, many int) []T {
	switch {
	case n == 0:
		return nil
	case n >= many:
		return make([]T, n)
	case n > len(s.left):
		s.left = make([]T, many)
	}
	t := s.left[:n:n]
	s.left = s.left[n:]
	return t
}

func (a *arena) takeStrings(n int) []string {
	if a == nil {
		return make([]string, n)
	}
	return a.strings.take(n, a.many)
}

// takeParts and takePlatforms return empty slices for none.
func (a *arena) takeParts(n int) []image.Part {
	if a == nil || n == 0 {
		return make([]image.Part, n)
	}
	return a.parts.take(n, a.many)
}

func (a *arena) takePlatforms(n int) []image.Platform {
	if a == nil || n == 0 {
		return make([]image.Platform, n)
	}
	return a.platforms.take(n, a.many)
}
