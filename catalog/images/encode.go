package images

import (
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/berth-oci/berth/catalog/image"
)

// The entries of a list are appended to what is sent, value by value: a list of
// many images is as fast as this. The JSON is that of encoding/json, to the byte,
// with nothing escaped that JSON does not ask to; TestEncode compares them.

// plain are the characters of ASCII that stand for themselves in a string.
var plain = func() (table [utf8.RuneSelf]bool) {
	for c := range table {
		table[c] = c >= ' ' && c != '"' && c != '\\'
	}
	return table
}()

func appendString(b []byte, s string) []byte {
	return append(appendText(append(b, '"'), s), '"')
}

// appendText appends what stands inside a string. What is no UTF-8 becomes U+FFFD,
// and the line separators of JavaScript are escaped, as encoding/json does.
func appendText(b []byte, s string) []byte {
	begin := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if !plain[c] {
				b = appendEscaped(append(b, s[begin:i]...), c)
				begin = i + 1
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		var text string
		switch {
		case r == utf8.RuneError && size == 1:
			text = `\ufffd`
		case r == '\u2028':
			text = `\u2028`
		case r == '\u2029':
			text = `\u2029`
		}
		if text != "" {
			b = append(append(b, s[begin:i]...), text...)
			begin = i + size
		}
		i += size
	}
	return append(b, s[begin:]...)
}

func appendEscaped(b []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\b':
		return append(b, `\b`...)
	case '\f':
		return append(b, `\f`...)
	case '\n':
		return append(b, `\n`...)
	case '\r':
		return append(b, `\r`...)
	case '\t':
		return append(b, `\t`...)
	}
	return append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
}

func appendStrings(b []byte, list []string) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, s)
	}
	return append(b, ']')
}

// appendMap appends a map in the order of its keys.
func appendMap(b []byte, m map[string]string) []byte {
	const few = 16
	var space [few]string
	keys := space[:0]
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	b = append(b, '{')
	for i, k := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, k), ':')
		b = appendString(b, m[k])
	}
	return append(b, '}')
}

// appendPlatform appends what image.Platform has as JSON.
func appendPlatform(b []byte, p *image.Platform) []byte {
	b = appendString(append(b, `{"digest":`...), string(p.Digest))
	b = appendString(append(b, `,"os":`...), p.OS)
	b = appendString(append(b, `,"architecture":`...), p.Architecture)
	b = strconv.AppendInt(append(b, `,"size_in_bytes":`...), p.Size, 10)
	if p.Kernel != nil {
		b = appendPart(append(b, `,"kernel":`...), p.Kernel)
	}
	if p.Initrd != nil {
		b = appendPart(append(b, `,"initrd":`...), p.Initrd)
	}
	b = append(b, `,"roms":`...)
	if p.ROMs == nil {
		b = append(b, "null"...)
	} else {
		b = append(b, '[')
		for i := range p.ROMs {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendPart(b, &p.ROMs[i])
		}
		b = append(b, ']')
	}
	if len(p.Args) > 0 {
		b = appendStrings(append(b, `,"args":`...), p.Args)
	}
	if len(p.KernelArgs) > 0 {
		b = appendStrings(append(b, `,"kernel_args":`...), p.KernelArgs)
	}
	return append(b, '}')
}

func appendPart(b []byte, p *image.Part) []byte {
	b = appendString(append(b, `{"digest":`...), string(p.Digest))
	b = strconv.AppendInt(append(b, `,"size":`...), p.Size, 10)
	b = appendString(append(b, `,"media_type":`...), p.MediaType)
	return append(b, '}')
}
