package access

import (
	"fmt"
	"strings"

	"github.com/berth-oci/berth/storage/reference"
)

const (
	maxName  = 64 // of an account
	maxLabel = 64
)

// CheckName says what is wrong with the name of an account: it is one part of a
// repository's name, of at most 64 characters, and not that of the official
// images.
func CheckName(name string) error {
	switch {
	case len(name) > maxName || !reference.IsComponent(name):
		return fmt.Errorf("%s is no name for an account: it wants lower-case letters and digits with single separators (. _ -) between them, %d characters at most", quoted(name), maxName)
	case name == reference.Official:
		return fmt.Errorf("no account can be called %s: that is where the official images are", reference.Official)
	case name == "localhost":
		return fmt.Errorf("no account can be called %s: clients take that for a host", name)
	}
	return nil
}

// CheckGrant says what is wrong with a namespace or repository that is granted.
func CheckGrant(name string) error {
	if !reference.IsName(name) {
		return fmt.Errorf("%s is no namespace or repository: it wants something like team or bob/app, in lower case, without a host or tag", quoted(name))
	}
	return nil
}

// CheckPublic says what is wrong with a repository that is published. That of a
// whole namespace is none: what is pushed there later would be public unasked.
func CheckPublic(name string) error {
	if !reference.IsName(name) || !strings.Contains(name, "/") {
		return fmt.Errorf("%s is no repository: it wants something like alice/app, in lower case, without a host or tag", quoted(name))
	}
	return nil
}

// CheckLabel says what is wrong with the label of a token.
func CheckLabel(label string) error {
	if label == "" || len(label) > maxLabel || strings.TrimSpace(label) != label || strings.ContainsFunc(label, notPlain) {
		return fmt.Errorf("%s is no label for a token: it wants up to %d letters, digits and signs, like laptop or ci", quoted(label), maxLabel)
	}
	return nil
}

// notPlain are the characters that do not belong in a line of a log.
func notPlain(r rune) bool { return r < ' ' || r > '~' }

// quoted shows a name that is wrong, bounded, and unless it is a secret that
// got into the wrong place.
func quoted(name string) string {
	const most = 80
	if strings.Contains(name, secretPrefix) {
		return "what looks like a secret"
	}
	if len(name) > most {
		return fmt.Sprintf("%.*q…", most, name)
	}
	return fmt.Sprintf("%q", name)
}
