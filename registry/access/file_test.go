package access

import (
	"reflect"
	"strings"
	"testing"
)

func TestRename(t *testing.T) {
	names := func(f *File) string {
		var b strings.Builder
		for _, a := range f.Accounts {
			b.WriteString(a.Name + " reads " + strings.Join(a.Read, ",") + " writes " + strings.Join(a.Write, ",") + "; ")
		}
		return b.String() + "public " + strings.Join(f.Public, ",")
	}
	file := func() *File {
		return &File{
			Accounts: []Account{
				{Name: "alice", Quota: 5, Tokens: []Token{testToken("alice", "laptop")}, Read: []string{"bob"}},
				{Name: "bob", Read: []string{"alice", "alice/app", "alice-x", "alina/app"}, Write: []string{"alice/app/deep", "alicex/app"}},
			},
			Public: []string{"alice/app", "alice-x/app", "alina/app"},
		}
	}
	for _, test := range []struct {
		along bool
		want  string
	}{
		{true, "alina reads bob writes ; bob reads alice-x,alina,alina/app writes alicex/app,alina/app/deep; public alice-x/app,alina/app"},
		{false, "alina reads bob writes alice; bob reads alice,alice/app,alice-x,alina/app writes alice/app/deep,alicex/app; public alice/app,alice-x/app,alina/app"},
	} {
		f := file()
		if err := f.Rename("alice", "alina", test.along); err != nil || names(f) != test.want {
			t.Errorf("along %v: %v, %s", test.along, err, names(f))
		}
		if a := f.Accounts[0]; a.Quota != 5 || len(a.Tokens) != 1 {
			t.Errorf("got %+v", a)
		}
	}
	for want, args := range map[string][2]string{
		`there is no account "alcie"; did you mean alice?`: {"alcie", "x"}, "there is an account bob already": {"alice", "bob"}, "no account can be called official": {"alice", "official"},
	} {
		f := file()
		if err := f.Rename(args[0], args[1], true); err == nil || !strings.HasPrefix(err.Error(), want) || !reflect.DeepEqual(f, file()) {
			t.Errorf("got %v and %s", err, names(f))
		}
	}
}

func TestRevokeAll(t *testing.T) {
	f := &File{Accounts: []Account{
		{Name: "bob", Read: []string{"alice", "alice/app", "alice-x"}, Write: []string{"alicex/app"}},
		{Name: "carol", Write: []string{"alice/app/deep"}}, {Name: "dave", Read: []string{"alicex"}},
	}}
	if had := f.RevokeAll("alice"); !reflect.DeepEqual(had, []string{"bob", "carol"}) {
		t.Errorf("got %v", had)
	}
	if b, c := f.Accounts[0], f.Accounts[1]; !reflect.DeepEqual(b.Read, []string{"alice-x"}) || !reflect.DeepEqual(b.Write, []string{"alicex/app"}) || len(c.Write) > 0 {
		t.Errorf("got %+v", f.Accounts)
	}
}
