package access

import (
	"path/filepath"
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
	// Where bob/app and two official images are published.
	passer, passerOfficial, member := passersBy(t, "bob/app", "bob/app/below", "official/nginx", "official/app")
	callers := []struct {
		name   string
		caller Caller
	}{
		{"nobody", Caller{}}, {"anon", anonymous}, {"visitor", visitor}, {"open", Everyone()},
		{"alice", identify(t, g, "alice", "laptop")}, {"alice-ro", identify(t, g, "alice", "reader")},
		{"bob", identify(t, g, "bob", "laptop")}, {"publisher", identify(t, g, "publisher", "ci")},
		{"controller", identify(t, g, "controller", "k8s")},
		{"root", identify(t, g, "root", "laptop")}, {"root-ro", identify(t, g, "root", "reader")},
		{"passer", passer}, {"passer-o", passerOfficial}, {"mute-p", member},
	}
	const table = `
repository            nobody anon visitor open alice alice-ro bob publisher controller root root-ro passer passer-o mute-p
alice                 -      -    -       rw   rw    r        -   -         r          rw   r -      -        -
alice/app             -      -    -       rw   rw    r        -   -         r          rw   r -      -        -
alice/app/deep        -      -    -       rw   rw    r        -   -         r          rw   r -      -        -
alice/shared          -      -    -       rw   rw    r        -   -         r          rw   r -      -        -
alice/shared/x        -      -    -       rw   rw    r        -   rw        r          rw   r -      -        -
alice/shared/x/y      -      -    -       rw   rw    r        -   rw        r          rw   r -      -        -
alice/shared/xy       -      -    -       rw   rw    r        -   -         r          rw   r -      -        -
alice2/app            -      -    -       rw   -     -        -   -         -          rw   r -      -        -
alic/app              -      -    -       rw   -     -        -   -         -          rw   r -      -        -
bob                   -      -    -       rw   -     -        rw  -         r          rw   r -      -        -
bob/app               -      -    -       rw   r     r        rw  -         r          rw   r r      r        r
bob/app/below         -      -    -       rw   r     r        rw  -         r          rw   r r      r        r
bob/app2              -      -    -       rw   -     -        rw  -         r          rw   r -      -        -
bob/other             -      -    -       rw   -     -        rw  -         r          rw   r -      -        -
team                  -      -    -       rw   rw    r        -   -         -          rw   r -      -        -
team/app              -      -    -       rw   rw    r        -   -         -          rw   r -      -        -
nobody/app            -      -    -       rw   -     -        -   -         -          rw   r -      -        -
official              -      -    r       rw   r     r        r   r         r          rw   r -      r        r
official/app          -      -    r       rw   r     r        r   rw        r          rw   r r      r        r
official/app/more     -      -    r       rw   r     r        r   rw        r          rw   r r      r        r
official/nginx        -      -    r       rw   r     r        r   r         r          rw   r r      r        r
official/alice        -      -    r       rw   r     r        r   r         r          rw   r -      r        r
officials/app         -      -    -       rw   -     -        -   -         -          rw   r -      -        -
publisher/app         -      -    -       rw   -     -        -   rw        -          rw   r -      -        -
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
		{passer, "", "", false, false, true, false, []string{"bob/app", "official/app", "official/nginx"}},
		{passerOfficial, "", "", false, false, true, false, []string{"bob/app", "official"}},
		{member, "mute", "default", false, false, false, false, []string{"bob/app", "mute", "official"}},
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

// passersBy are who asks where repositories are published: without an account,
// where official images are free as well, and with an account that nobody has
// granted anything.
func passersBy(t *testing.T, names ...string) (passer, official, member Caller) {
	t.Helper()
	file := &File{Accounts: tenants()}
	file.Accounts[5].Tokens = []Token{testToken("mute", "default")}
	if err := file.Publish(names...); err != nil {
		t.Fatal(err)
	}
	text, err := render(file)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "accounts.yaml")
	write(t, path, string(text))
	a, _ := opened(t, path)
	g := NewGate(a, GateOptions{})
	if passer, err = g.Identify(request()); err != nil {
		t.Fatal(err)
	}
	if official, err = NewGate(a, GateOptions{AnonymousOfficial: true}).Identify(request()); err != nil {
		t.Fatal(err)
	}
	return passer, official, identify(t, g, "mute", "default")
}

// Lists are for who has an account, and for everyone where something is public.
func TestMayList(t *testing.T) {
	passer, official, member := passersBy(t, "bob/app")
	none, noneOfficial, _ := passersBy(t)
	for _, test := range []struct {
		caller Caller
		want   bool
	}{{passer, true}, {official, true}, {member, true}, {Everyone(), true}, {none, false}, {noneOfficial, false}, {Caller{}, false}} {
		if got := test.caller.MayList(); got != test.want {
			t.Errorf("%+v: got %v", test.caller, got)
		}
	}
}

func TestSnapshot(t *testing.T) {
	s := newSnapshot(&File{Accounts: tenants()})
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
	public := newSnapshot(&File{Accounts: tenants(), Public: []string{"zed/app"}})
	if got := strings.Join(public.Readers("zed/app/x"), " "); got != "alice bob controller mute publisher root" || !public.Namespace("zed") || s.Namespace("zed") {
		t.Errorf("readers of what is public: %s", got)
	}
	if got := strings.Join(public.Readers("zed/app2"), " "); got != "root" {
		t.Errorf("readers of what is beside: %s", got)
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
