package image

import (
	"bytes"
	"encoding/json"
	"iter"
	"strings"
)

// blanks are what JSON allows between its tokens.
const blanks = " \t\r\n"

// truncate leaves the first n elements of a JSON array whose syntax has been
// checked, and reports whether there are more: encoding/json has no bound for
// what a list of three bytes an element becomes. Anything else stays.
func truncate(b []byte, n int) (kept []byte, more bool) {
	if b[0] != '[' {
		return b, false
	}
	end := 1
	for i := skip(b, 1, blanks); b[i] != ']'; i = skip(b, end, blanks+",") {
		if n == 0 {
			return append(bytes.Clone(b[:end]), ']'), true
		}
		n--
		end = valueEnd(b, i)
	}
	return b, false
}

// members are the keys and values of a JSON object whose syntax has been
// checked, in place, and none of anything else. A key is unquoted.
func members(b []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		if b[0] != '{' {
			return
		}
		for i := skip(b, 1, blanks); b[i] != '}'; i = skip(b, i, blanks+",") {
			end := valueEnd(b, i)
			key := b[i+1 : end-1]
			if bytes.IndexByte(key, '\\') >= 0 {
				key = []byte(unquote(b[i:end]))
			}
			i = skip(b, end, blanks+":")
			end = valueEnd(b, i)
			if !yield(key, b[i:end]) {
				return
			}
			i = end
		}
	}
}

// countMembers is how many keys such an object has, counted to one more than
// most, and 0 of anything else.
func countMembers(b []byte, most int) (n int) {
	for range members(b) {
		if n++; n > most {
			break
		}
	}
	return n
}

func unquote(quoted []byte) (s string) {
	_ = json.Unmarshal(quoted, &s)
	return s
}

// skip is where, from i on, something else than those characters stands.
func skip(b []byte, i int, these string) int {
	for strings.IndexByte(these, b[i]) >= 0 {
		i++
	}
	return i
}

// valueEnd is where the JSON value that starts at i ends.
func valueEnd(b []byte, i int) int {
	switch b[i] {
	case '"':
		return stringEnd(b, i)
	case '{', '[':
	default: // a number, or a name such as null
		for i < len(b) && strings.IndexByte(blanks+",]}", b[i]) < 0 {
			i++
		}
		return i
	}
	for depth := 0; ; {
		switch b[i] {
		case '"':
			i = stringEnd(b, i)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		if i++; depth == 0 {
			return i
		}
	}
}

func stringEnd(b []byte, i int) int {
	for i++; b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return i + 1
}
