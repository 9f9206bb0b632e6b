package access

import (
	"maps"
	"slices"
	"strings"

	"github.com/berth-oci/berth/storage/reference"
)

// Snapshot is what the accounts file said at one moment. It never changes.
type Snapshot struct {
	open       bool
	accounts   []Account
	members    map[string]*member
	namespaces map[string]bool
	// readers are, for each namespace or repository that is granted, the
	// accounts that may read it so.
	readers map[string][]string
	admins  []string
	// public is nil if nothing is published.
	public *published
}

// published is what everyone may read.
type published struct {
	scope
	readable, withOfficial []string // as in member
}

// newPublished returns nil for no names.
func newPublished(names []string) *published {
	if len(names) == 0 {
		return nil
	}
	p := &published{scope: scope{}}
	for _, name := range names {
		p.scope[name] = struct{}{}
	}
	all := scope{reference.Official: {}}
	maps.Copy(all, p.scope)
	p.readable, p.withOfficial = p.sorted(), all.sorted()
	return p
}

// covers is that of the scope; nil covers nothing.
func (p *published) covers(name string) bool { return p != nil && p.scope.covers(name) }

// member is an account with its rights laid out for quick answers.
type member struct {
	Account
	reads, writes scope
	readable      []string
}

// scope is a set of namespaces and repositories, each with what lies below it.
type scope map[string]struct{}

var officialOnly = scope{reference.Official: {}}

// covers asks for the name and everything above it: what that costs depends on
// how deep the name is, not on how much is granted.
func (s scope) covers(name string) bool {
	for i := range len(name) {
		if name[i] == '/' {
			if _, ok := s[name[:i]]; ok {
				return true
			}
		}
	}
	_, ok := s[name]
	return ok
}

// sorted lists the set without what lies below another part of it.
func (s scope) sorted() []string {
	names := slices.Sorted(maps.Keys(s))
	return slices.DeleteFunc(names, func(name string) bool {
		above := strings.LastIndexByte(name, '/')
		return above > 0 && s.covers(name[:above])
	})
}

// newSnapshot takes accounts that were validated, and keeps them.
func newSnapshot(file *File) *Snapshot {
	s := &Snapshot{
		accounts:   file.Accounts,
		members:    make(map[string]*member, len(file.Accounts)),
		namespaces: map[string]bool{},
		readers:    map[string][]string{},
		public:     newPublished(file.Public),
	}
	slices.SortFunc(s.accounts, func(a, b Account) int { return strings.Compare(a.Name, b.Name) })
	for _, a := range s.accounts {
		m := &member{Account: a, reads: scope{a.Name: {}, reference.Official: {}}, writes: scope{a.Name: {}}}
		for _, name := range a.Write {
			m.writes[name], m.reads[name] = struct{}{}, struct{}{}
		}
		for _, name := range a.Read {
			m.reads[name] = struct{}{}
		}
		s.members[a.Name] = m
		for name := range m.reads {
			if name != reference.Official {
				s.readers[name] = append(s.readers[name], a.Name)
			}
		}
		if s.public != nil {
			maps.Copy(m.reads, s.public.scope)
		}
		m.readable = m.reads.sorted()
		if a.Admin {
			s.admins = append(s.admins, a.Name)
		}
		s.namespaces[a.Name] = true
		for _, name := range slices.Concat(a.Read, a.Write) {
			s.namespaces[reference.Namespace(name)] = true
		}
	}
	for _, name := range file.Public {
		s.namespaces[reference.Namespace(name)] = true
	}
	return s
}

// Accounts are all accounts, sorted by name. They must not be changed.
func (s *Snapshot) Accounts() []Account { return s.accounts }

// Account is the one of that name. It must not be changed.
func (s *Snapshot) Account(name string) (*Account, bool) {
	m, ok := s.members[name]
	if !ok {
		return nil, false
	}
	return &m.Account, true
}

// Namespace reports whether a name is an account's, or that of a namespace in
// which something is granted or published.
func (s *Snapshot) Namespace(name string) bool { return s.namespaces[name] }

// Readers are the accounts that may pull from a repository, administrators
// included, sorted. For an official or public image that is every account.
func (s *Snapshot) Readers(repository string) []string {
	if officialOnly.covers(repository) || s.public.covers(repository) {
		names := make([]string, len(s.accounts))
		for i := range s.accounts {
			names[i] = s.accounts[i].Name
		}
		return names
	}
	names := slices.Concat(s.admins, s.readers[repository])
	for i := range len(repository) {
		if repository[i] == '/' {
			names = append(names, s.readers[repository[:i]]...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
