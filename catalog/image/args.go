package image

import (
	"slices"
	"strings"
)

// splitArgs tells the kernel's arguments from the application's, by Unikraft's
// boot convention: library.parameter=value … -- application arguments. Where
// the elements before the first "--" do not have that form, or where there is
// no "--", all belong to the application.
func splitArgs(all []string) (args, kernel []string) {
	end := slices.Index(all, "--")
	if end < 0 || !areParameters(all[:end]) {
		return all, nil
	}
	return orNil(all[end+1:]), orNil(all[:end])
}

// orNil lets an empty list be absent, also in JSON and in comparisons.
func orNil(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	return slices.Clip(list)
}

// areParameters reports whether list consists of kernel parameters. A value
// that starts with "[" is a list, which may have been split at its spaces and
// runs up to an element that ends in "]".
func areParameters(list []string) bool {
	for i := 0; i < len(list); i++ {
		value, ok := parameter(list[i])
		if !ok {
			return false
		}
		if !strings.HasPrefix(value, "[") {
			continue
		}
		for !strings.HasSuffix(list[i], "]") {
			if i++; i == len(list) {
				return false
			}
		}
	}
	return true
}

// parameter splits library.parameter=value.
func parameter(s string) (value string, ok bool) {
	name, value, ok := strings.Cut(s, "=")
	library, param, dotted := strings.Cut(name, ".")
	return value, ok && dotted && isIdentifier(library) && isIdentifier(param)
}

func isIdentifier(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && c != '_' && c != '-' {
			return false
		}
	}
	return s != ""
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// QuoteArgs joins arguments with spaces, as the first version of the images API
// shows them. Read by a POSIX shell (POSIX.1-2024, 2.2 Quoting), the result
// gives the same arguments again: one that holds only letters, digits and
// characters without a meaning to the shell stays as it is, every other one
// stands in single quotes.
func QuoteArgs(args []string) string {
	if len(args) == 0 {
		return ""
	}
	n := 0
	for _, arg := range args {
		n += len(" ''") + len(arg)
	}
	var b strings.Builder
	b.Grow(n)
	for i, arg := range args {
		if i > 0 {
			b.WriteByte(' ')
		}
		if isPlain(arg) {
			b.WriteString(arg)
			continue
		}
		b.WriteByte('\'')
		b.WriteString(strings.ReplaceAll(arg, `'`, `'\''`))
		b.WriteByte('\'')
	}
	return b.String()
}

// isPlain reports whether a shell takes s as it stands. Letters beyond ASCII
// count as unsafe, as some locales have blanks among them.
func isPlain(s string) bool {
	for i := range len(s) {
		if !shellPlain[s[i]] {
			return false
		}
	}
	return s != ""
}

var shellPlain = func() (table [256]bool) {
	for c := range table {
		table[c] = isAlphanumeric(byte(c)) || strings.IndexByte("_@%+=:,./-", byte(c)) >= 0
	}
	return table
}()
