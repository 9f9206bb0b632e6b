package access

import (
	"fmt"
	"slices"
	"strings"

	"github.com/berth-oci/berth/storage/reference"
)

// File is the content of the accounts file, to be changed in [Edit].
type File struct {
	Accounts []Account
	// Public are the repositories that everyone may read, without an account too,
	// each with all that lies below it.
	Public []string
	// New is set if there is no file yet: writing one closes the registry.
	New bool
}

// Read reads the accounts file. Without one the error is [io/fs.ErrNotExist].
func Read(path string) (*File, error) {
	text, _, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("accounts file: %w", err)
	}
	return parse(path, text)
}

// Account is the one of that name, to be changed in place. The error names the
// nearest one that there is.
func (f *File) Account(name string) (*Account, error) {
	names := make([]string, len(f.Accounts))
	for i := range f.Accounts {
		if f.Accounts[i].Name == name {
			return &f.Accounts[i], nil
		}
		names[i] = f.Accounts[i].Name
	}
	return nil, fmt.Errorf("there is no account %s%s", quoted(name), meant(name, names))
}

// Add adds an account. The error says that its name is taken or no good.
func (f *File) Add(a Account) error {
	if err := CheckName(a.Name); err != nil {
		return err
	}
	if _, err := f.Account(a.Name); err == nil {
		return fmt.Errorf("there is an account %s already", a.Name)
	}
	f.Accounts = append(f.Accounts, a)
	return nil
}

// Remove takes an account away. What others were granted in its namespace
// stays; what was public of it is not any more.
func (f *File) Remove(name string) error {
	if _, err := f.Account(name); err != nil {
		return err
	}
	f.Accounts = slices.DeleteFunc(f.Accounts, func(a Account) bool { return a.Name == name })
	f.Public = slices.DeleteFunc(f.Public, func(r string) bool { return reference.Namespace(r) == name })
	return nil
}

// Rename gives an account another name. If its namespace goes along, what others
// were granted in it, and what is public of it, is renamed too; if not, that
// stays, and the account may go on writing there. The error says that there is
// no such account, or that the new name is taken or no good.
func (f *File) Rename(from, to string, namespace bool) error {
	account, err := f.Account(from)
	if err != nil {
		return err
	}
	if err := CheckName(to); err != nil {
		return err
	}
	if _, err := f.Account(to); err == nil {
		return fmt.Errorf("there is an account %s already", to)
	}
	account.Name = to
	if !namespace {
		return Grant(&account.Write, from)
	}
	renamed := func(names []string) []string {
		for i, name := range names {
			if reference.Namespace(name) == from {
				names[i] = to + strings.TrimPrefix(name, from)
			}
		}
		slices.Sort(names)
		return slices.Compact(names)
	}
	f.Public = renamed(f.Public)
	for i := range f.Accounts {
		f.Accounts[i].Read, f.Accounts[i].Write = renamed(f.Accounts[i].Read), renamed(f.Accounts[i].Write)
	}
	return nil
}

// RevokeAll takes back whatever is granted in a namespace, and returns the
// accounts that had some of it.
func (f *File) RevokeAll(namespace string) (accounts []string) {
	inside := func(name string) bool { return reference.Namespace(name) == namespace }
	for i := range f.Accounts {
		a := &f.Accounts[i]
		had := len(a.Read) + len(a.Write)
		a.Read, a.Write = slices.DeleteFunc(a.Read, inside), slices.DeleteFunc(a.Write, inside)
		if len(a.Read)+len(a.Write) < had {
			accounts = append(accounts, a.Name)
		}
	}
	return accounts
}

// AddToken adds a token. The error says that its label is taken or no good.
func (a *Account) AddToken(t Token) error {
	if err := CheckLabel(t.Label); err != nil {
		return err
	}
	if slices.ContainsFunc(a.Tokens, func(other Token) bool { return other.Label == t.Label }) {
		return fmt.Errorf("%s has a token with the label %q already; choose another label, or revoke that one first", a.Name, t.Label)
	}
	a.Tokens = append(a.Tokens, t)
	return nil
}

// RevokeToken takes a token away. The error names the nearest label.
func (a *Account) RevokeToken(label string) error {
	var labels []string
	for i, t := range a.Tokens {
		if t.Label == label {
			a.Tokens = slices.Delete(a.Tokens, i, i+1)
			return nil
		}
		labels = append(labels, t.Label)
	}
	return fmt.Errorf("%s has no token with the label %s%s", a.Name, quoted(label), meant(label, labels))
}

// Grant adds names to what an account may read or write (its Read or Write),
// but for those that are there already. The error says that one is malformed.
func Grant(to *[]string, names ...string) error {
	for _, name := range names {
		if err := CheckGrant(name); err != nil {
			return err
		}
		if !slices.Contains(*to, name) {
			*to = append(*to, name)
		}
	}
	slices.Sort(*to)
	return nil
}

// Publish lets everyone read repositories. The error says that one is none.
func (f *File) Publish(repositories ...string) error {
	for _, name := range repositories {
		if err := CheckPublic(name); err != nil {
			return err
		}
	}
	return Grant(&f.Public, repositories...)
}

// Unpublish takes that back. The error names one that is not public, and the
// nearest.
func (f *File) Unpublish(repositories ...string) error {
	for _, name := range repositories {
		i := slices.Index(f.Public, name)
		if i < 0 {
			return fmt.Errorf("%s is not public%s", quoted(name), meant(name, f.Public))
		}
		f.Public = slices.Delete(f.Public, i, i+1)
	}
	return nil
}

// Revoke takes names away from what an account may read or write. The error
// names one that is not there, and the nearest.
func Revoke(from *[]string, names ...string) error {
	for _, name := range names {
		i := slices.Index(*from, name)
		if i < 0 {
			return fmt.Errorf("%s is not granted%s", quoted(name), meant(name, *from))
		}
		*from = slices.Delete(*from, i, i+1)
	}
	return nil
}
