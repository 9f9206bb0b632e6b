package access

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/berth-oci/berth/config/size"
)

const header = `# The accounts of a berth registry: who may log in, and what each may do.
# Without this file the registry is open to everyone who reaches it.
#
# "berth account" changes it safely while berth runs; berth takes over every
# change, those by hand too, within a second. It holds no secret, only hashes of
# them, and can be kept in git or in a secret store. What is wrong in it is in
# berth's log, and until it is right the accounts of before stay in force.
#
# An account reads and writes the namespace of its own name. Beside it:
#   admin: true          reads and writes everything
#   quota: 10GiB         how much the namespace may hold
#   read:  [bob/app]     may also read this repository, and what lies below it
#   write: [team]        may also read and write all of this namespace
#   tokens:              label, sha256 (of the secret), created, expires, read_only
#
# Beside the accounts:
#   public: [alice/app]  everyone may pull this repository, and what lies below it
`

// The forms in which the file is written.
type (
	fileDocument struct {
		Accounts []accountDocument `yaml:"accounts"`
		Public   []string          `yaml:"public,flow,omitempty"`
	}
	accountDocument struct {
		Name   string          `yaml:"name"`
		Admin  bool            `yaml:"admin,omitempty"`
		Quota  string          `yaml:"quota,omitempty"`
		Tokens []tokenDocument `yaml:"tokens,omitempty"`
		Read   []string        `yaml:"read,flow,omitempty"`
		Write  []string        `yaml:"write,flow,omitempty"`
	}
	tokenDocument struct {
		Label    string     `yaml:"label"`
		SHA256   string     `yaml:"sha256"`
		Created  *time.Time `yaml:"created,omitempty"`
		Expires  *time.Time `yaml:"expires,omitempty"`
		ReadOnly bool       `yaml:"read_only,omitempty"`
	}
)

// render writes the file, sorted by name so that a change is a small one in
// git too.
func render(file *File) ([]byte, error) {
	form := fileDocument{Accounts: []accountDocument{}, Public: file.Public}
	for _, a := range file.Accounts {
		f := accountDocument{Name: a.Name, Admin: a.Admin, Read: a.Read, Write: a.Write}
		if a.Quota != 0 {
			f.Quota = size.Format(a.Quota)
		}
		for _, t := range a.Tokens {
			f.Tokens = append(f.Tokens, tokenDocument{t.Label, hex.EncodeToString(t.Hash[:]), timeOrNil(t.Created), timeOrNil(t.Expires), t.ReadOnly})
		}
		form.Accounts = append(form.Accounts, f)
	}
	slices.SortFunc(form.Accounts, func(a, b accountDocument) int { return strings.Compare(a.Name, b.Name) })
	var b bytes.Buffer
	b.WriteString(header)
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(form); err != nil {
		return nil, err
	}
	return b.Bytes(), encoder.Close()
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Second)
	return &t
}
