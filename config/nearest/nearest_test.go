package nearest

import (
	"slices"
	"testing"
)

func TestOf(t *testing.T) {
	keys := []string{"data", "http", "http.listen", "http.tls.certificate", "http.timeouts", "http.timeouts.idle", "log", "log.level", "accounts", "accounts.file"}
	accounts := []string{"bob", "alice", "controller", "first.last"}
	for _, test := range []struct {
		name  string
		known []string
		best  string
		near  bool
	}{
		{"http.listne", keys, "http.listen", true},
		{"HTTP", keys, "http", true},
		{"listen", keys, "http.listen", true}, // the right name in the wrong place
		{"http.tls.cert", keys, "http.tls.certificate", true},
		{"http.timeouts.timeouts", keys, "http.timeouts", true},
		{"zzzzzzzzzz", keys, "accounts", false},
		{"5", keys, "log", false},
		{"alcie", accounts, "alice", true},
		{"bop", accounts, "bob", true},
		{"contröller", accounts, "controller", true},
		{"contr", accounts, "controller", true},
		{"zzzzzz", accounts, "alice", false},
		{"ba", []string{"bc", "bb", "bd"}, "bb", true}, // of equals the first
		{"alice", nil, "", false},
		{"", accounts, "bob", false},
	} {
		for _, known := range [][]string{test.known, backward(test.known)} {
			if best, near := Of(test.name, known); best != test.best || near != test.near {
				t.Errorf("%q among %v: got %q, %t, want %q, %t", test.name, known, best, near, test.best, test.near)
			}
		}
	}
}

func backward(names []string) []string {
	names = slices.Clone(names)
	slices.Reverse(names)
	return names
}
