package access

import (
	"slices"
	"strings"
	"testing"
)

// The table is written by hand: r may read, w may write, - neither. A
// repository that is not there is judged like one that is.
func TestRights(t *testing.T) {
	g, _ := gate(t, GateOptions{})
	og, _ := gate(t, GateOptions{AnonymousOfficial: true})
	anonymous, err := g.Identify(request())
	if err != nil {
		t.Fatal(err)
	}
	visitor, err := og.Identify(request())
	if err != nil {
		t.Fatal(err)
	}
	callers := []struct {
		name   string
		caller Caller
	}{
		{"nobody", Caller{}}, {"anon", anonymous}, {"visitor", visitor}, {"open", Everyone()},
		{"alice", identify(t, g, "alice", "laptop")}, {"alice-ro", identify(t, g, "alice", "reader")},
		{"bob", identify(t, g, "bob", "laptop")}, {"publisher", identify(t, g, "publisher", "ci")},
		{"controller", identify(t, g, "controller", "k8s")},
		{"root", identify(t, g, "root", "laptop")}, {"root-ro", identify(t, g, "root", "reader")},
	}
	const table = `
repository            nobody anon visitor open alice alice-ro bob publisher controller root root-ro
alice                 -      -    -       rw   rw    r        -   -         r          rw   r
alice/app             -      -    -       rw   rw    r        -   -         r          rw   r
alice/app/deep        -      -    -       rw   rw    r        -   -         r          rw   r
alice/shared          -      -    -       rw   rw    r        -   -         r          rw   r
alice/shared/x        -      -    -       rw   rw    r        -   rw        r          rw   r
alice/shared/x/y      -      -    -       rw   rw    r        -   rw        r          rw   r
alice/shared/xy       -      -    -       rw   rw    r        -   -         r          rw   r
alice2/app            -      -    -       rw   -     -        -   -         -          rw   r
alic/app              -      -    -       rw   -     -        -   -         -          rw   r
bob                   -      -    -       rw   -     -        rw  -         r          rw   r
bob/app               -      -    -       rw   r     r        rw  -         r          rw   r
bob/app/below         -      -    -       rw   r     r        rw  -         r          rw   r
bob/app2              -      -    -       rw   -     -        rw  -         r          rw   r
bob/other             -      -    -       rw   -     -        rw  -         r          rw   r
team                  -      -    -       rw   rw    r        -   -         -          rw   r
team/app              -      -    -       rw   rw    r        -   -         -          rw   r
nobody/app            -      -    -       rw   -     -        -   -         -          rw   r
official              -      -    r       rw   r     r        r   r         r          rw   r
official/app          -      -    r       rw   r     r        r   rw        r          rw   r
official/app/more     -      -    r       rw   r     r        r   rw        r          rw   r
official/nginx        -      -    r       rw   r     r        r   r         r          rw   r
official/alice        -      -    r       rw   r     r        r   r         r          rw   r
officials/app         -      -    -       rw   -     -        -   -         -          rw   r
publisher/app         -      -    -       rw   -     -        -   rw        -          rw   r
`
	lines := strings.Split(strings.TrimSpace(table), "\n")
	for _, line := range lines[1:] {
		cells := strings.Fields(line)
		if len(cells) != len(callers)+1 {
			t.Fatalf("the table has a short line: %s", line)
		}
		for i, c := range callers {
			got := "-"
			if c.caller.MayRead(cells[0]) {
				got = "r"
			}
			if c.caller.MayWrite(cells[0]) {
				got = strings.TrimPrefix(got, "-") + "w"
			}
			if got != cells[i+1] {
				t.Errorf("%s, %s: got %s, want %s", c.name, cells[0], got, cells[i+1])
			}
		}
	}
	for _, test := range []struct {
		caller                          Caller
		name, label                     string
		admin, open, anonymous, readOly bool
		readable                        []string
	}{
		{Caller{}, "", "", false, false, true, false, []string{}},
		{anonymous, "", "", false, false, true, false, []string{}},
		{visitor, "", "", false, false, true, false, []string{"official"}},
		{Everyone(), "", "", false, true, false, false, nil},
		{callers[4].caller, "alice", "laptop", false, false, false, false, []string{"alice", "bob/app", "official", "team"}},
		{callers[5].caller, "alice", "reader", false, false, false, true, []string{"alice", "bob/app", "official", "team"}},
		{callers[7].caller, "publisher", "ci", false, false, false, false, []string{"alice/shared/x", "official", "publisher"}},
		{callers[8].caller, "controller", "k8s", false, false, false, false, []string{"alice", "bob", "controller", "official"}},
		{callers[10].caller, "root", "reader", true, false, false, true, nil},
	} {
		c := test.caller
		if c.Name() != test.name || c.Label() != test.label || c.Admin() != test.admin || c.Open() != test.open ||
			c.Anonymous() != test.anonymous || c.ReadOnly() != test.readOly {
			t.Errorf("%s: got %q %q %v %v %v %v", test.name, c.Name(), c.Label(), c.Admin(), c.Open(), c.Anonymous(), c.ReadOnly())
		}
		if got := c.Readable(); !slices.Equal(got, test.readable) || (got == nil) != (test.readable == nil) {
			t.Errorf("%s: readable %#v, want %#v", test.name, got, test.readable)
		}
	}
}

func TestSnapshot(t *testing.T) {
	s := newSnapshot(tenants())
	var names []string
	for _, a := range s.Accounts() {
		names = append(names, a.Name)
	}
	if got := strings.Join(names, " "); got != "alice bob controller mute publisher root" {
		t.Errorf("accounts: %s", got)
	}
	if a, ok := s.Account("alice"); !ok || a.Quota != 10<<30 || len(a.Tokens) != 3 {
		t.Errorf("alice: %+v, %v", a, ok)
	}
	if _, ok := s.Account("ALICE"); ok {
		t.Error("an account that is not there is found")
	}
	for name, want := range map[string]bool{"alice": true, "team": true, "official": true, "app": false, "bob/app": false, "": false} {
		if s.Namespace(name) != want {
			t.Errorf("namespace %q: got %v", name, !want)
		}
	}
	for repository, want := range map[string]string{
		"alice/app": "alice controller root", "alice/shared/x": "alice controller publisher root",
		"bob/app/below": "alice bob controller root", "bob": "bob controller root", "bob/x": "bob controller root",
		"team/x": "alice root", "stranger/x": "root", "official/x": "alice bob controller mute publisher root",
	} {
		if got := strings.Join(s.Readers(repository), " "); got != want {
			t.Errorf("readers of %s: got %s, want %s", repository, got, want)
		}
	}
}
