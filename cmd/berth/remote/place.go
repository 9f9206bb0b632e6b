package remote

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage/reference"
)

// Place is an image, or a repository, in a registry or in a folder with an OCI
// layout.
type Place struct {
	// Folder is that of a layout; "" for a registry.
	Folder string
	// Host is the registry's, with its port.
	Host       string
	Repository string
	Tag        string        // "" if there was none
	Digest     digest.Digest // "" if there was none
}

const layoutPrefix = "oci:"

// String writes the place as it is read, with its host.
func (p Place) String() string {
	if p.Folder == "" {
		return reference.Reference{Host: p.Host, Repository: p.Repository, Tag: p.Tag, Digest: p.Digest}.String()
	}
	s := layoutPrefix + p.Folder
	if p.Tag != "" {
		s += ":" + p.Tag
	}
	if p.Digest != "" {
		s += "@" + p.Digest.String()
	}
	return s
}

// reference is by what the image is known there: the digest if one is given.
func (p Place) reference() string {
	if p.Digest != "" {
		return p.Digest.String()
	}
	if p.Tag != "" {
		return p.Tag
	}
	return reference.Latest
}

// Parse reads a place: alice/app, alice/app:v1 or alice/app@sha256:… of the host
// that is meant where none is named, the same with a host in front, or
// oci:FOLDER:TAG. As docker does, it takes the first part of a name for a host if
// there is a dot or a colon in it, or if it is localhost. The error is [ErrUsage].
func Parse(text, host string) (Place, error) {
	if rest, ok := strings.CutPrefix(text, layoutPrefix); ok {
		return parseLayout(rest)
	}
	rest := strings.TrimPrefix(text, "docker://") // as skopeo has it
	if strings.Contains(rest, "://") {
		return Place{}, fmt.Errorf("%w: %q is no image: it wants something like alice/app:v1, or HOST/alice/app:v1, without a scheme", ErrUsage, shown(text))
	}
	p := Place{Host: host}
	if first, name, ok := strings.Cut(rest, "/"); ok && (first == host || isHost(first)) {
		p.Host, rest = first, name
	}
	r, err := reference.Parse(rest)
	if err == nil && r.Host != "" {
		err = reference.ErrName
	}
	if err != nil {
		return Place{}, fmt.Errorf("%w: %q is no image, for it has a %w: it wants something like alice/app:v1, alice/app@sha256:…, HOST/alice/app:v1 or oci:FOLDER:TAG", ErrUsage, shown(text), err)
	}
	if err := checkHost(p.Host); err != nil {
		return Place{}, err
	}
	p.Repository, p.Tag, p.Digest = r.Repository, r.Tag, r.Digest
	return p, nil
}

func parseLayout(text string) (Place, error) {
	folder, rest, digested := strings.Cut(text, "@")
	p := Place{Folder: folder}
	var err error
	if digested {
		if p.Digest, err = reference.ParseDigest(rest); err != nil {
			return Place{}, fmt.Errorf("%w: %q has a %w", ErrUsage, shown(layoutPrefix+text), err)
		}
	}
	if i := strings.LastIndexByte(folder, ':'); i > strings.LastIndexAny(folder, `/\`) {
		p.Folder, p.Tag = folder[:i], folder[i+1:]
		if !reference.IsTag(p.Tag) {
			return Place{}, fmt.Errorf("%w: %q has a %w", ErrUsage, shown(layoutPrefix+text), reference.ErrTag)
		}
	}
	if p.Folder == "" {
		return Place{}, fmt.Errorf("%w: %q names no folder: it wants oci:FOLDER:TAG", ErrUsage, shown(layoutPrefix+text))
	}
	return p, nil
}

func isHost(s string) bool { return strings.ContainsAny(s, ".:") || s == "localhost" }

var errHost = errors.New("no host: it wants a name or an address, and a port if it is not the usual one, like registry.example.com or 127.0.0.1:5000")

// checkHost returns [ErrUsage] for what is no host.
func checkHost(host string) error {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = host, "0"
	}
	_, addressErr := netip.ParseAddr(strings.Trim(name, "[]"))
	if _, portErr := netip.ParseAddrPort("127.0.0.1:" + port); portErr != nil || addressErr != nil && !hostName.MatchString(name) {
		return fmt.Errorf("%w: %q is %w", ErrUsage, shown(host), errHost)
	}
	return nil
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$`)

// Loopback reports whether a host is this machine, which is spoken to without TLS
// unless something else is said.
func Loopback(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.Trim(host, "[]")
	}
	ip, err := netip.ParseAddr(name)
	return strings.EqualFold(name, "localhost") || err == nil && ip.Unmap().IsLoopback()
}

// shown is what somebody wrote, bounded.
func shown(text string) string {
	const most = 100
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}
