package access

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
)

const (
	// maxCredentials bounds account and secret together, before base64.
	maxCredentials = 1024
	maxHeader      = maxCredentials*4/3 + 64
)

// What can be wrong. Only who knows a secret learns that it has expired.
var (
	errWrong     = fmt.Errorf("%w: no account has this name and token", ErrUnauthorized)
	errExpired   = fmt.Errorf("%w: the token has expired", ErrUnauthorized)
	errMalformed = fmt.Errorf("%w: they want to be Basic, or a Bearer made of the base64 of account:token", ErrUnauthorized)
)

// sent says which signed tokens count where credentials were sent.
type sent struct {
	signed bool // those of the token endpoint
	local  bool // those of commands on this machine
}

// authorize reads the values of the Authorization header, of which there is at
// least one.
func (g *Gate) authorize(accounts *Snapshot, values []string, how sent) (Caller, error) {
	if len(values) != 1 || len(values[0]) > maxHeader {
		return Caller{}, errMalformed
	}
	scheme, rest, _ := strings.Cut(values[0], " ")
	rest = strings.Trim(rest, " ")
	bearer := strings.EqualFold(scheme, "Bearer")
	if !bearer && !strings.EqualFold(scheme, "Basic") {
		return Caller{}, errMalformed
	}
	if payload, mac, ok := strings.Cut(rest, "."); ok && bearer && how.signed {
		return g.verify(accounts, payload, mac, how.local)
	}
	var space [maxCredentials + 64]byte
	plain, ok := decode(space[:], rest)
	if !ok {
		return Caller{}, errMalformed
	}
	for i, c := range plain {
		if c == ':' {
			return g.check(accounts, plain[:i], plain[i+1:])
		}
	}
	return Caller{}, errMalformed
}

// decode reads base64 in either alphabet, padded or not, into space.
func decode(space []byte, text string) ([]byte, bool) {
	encoding := base64.RawStdEncoding
	if strings.ContainsAny(text, "-_") {
		encoding = base64.RawURLEncoding
	}
	text = strings.TrimSuffix(strings.TrimSuffix(text, "="), "=")
	if encoding.DecodedLen(len(text)) > len(space) || strings.ContainsAny(text, "\r\n") {
		return nil, false
	}
	n, err := encoding.Decode(space, []byte(text))
	return space[:n], err == nil
}

// The legacy client writes its user as robot$<account>.users.kraftcloud.
const (
	robotPrefix = "robot$"
	robotSuffix = ".users.kraftcloud"
)

// check says whose a name and secret are. The secret may also be a whole token
// of the platform, itself the base64 of account and secret: then the account in
// it is the one, whatever the name says. That is tried second, since a secret
// which is no such token can look like one. Both are compared always, so that
// how long it takes tells nothing.
func (g *Gate) check(accounts *Snapshot, name, secret []byte) (Caller, error) {
	caller, err := g.compare(accounts, name, secret)
	var space [maxCredentials]byte
	within, hidden := nested(space[:], secret)
	inner, errInner := g.compare(accounts, within, hidden)
	if err == errWrong {
		return inner, errInner
	}
	return caller, err
}

// nested reads a secret that is a whole token: base64 of account and secret,
// once. Of any other the account is empty, which none is called.
func nested(space, secret []byte) (name, hidden []byte) {
	plain, ok := decode(space, string(secret))
	if !ok {
		return nil, secret
	}
	name, hidden, ok = bytes.Cut(plain, []byte{':'})
	if !ok {
		return nil, secret
	}
	return name, hidden
}

// compare compares a secret with every token of the account. It takes as long
// for an account that is not there, and tells nothing of how near a guess is.
func (g *Gate) compare(accounts *Snapshot, name, secret []byte) (Caller, error) {
	if n := len(name); n > len(robotPrefix)+len(robotSuffix) &&
		string(name[:len(robotPrefix)]) == robotPrefix && string(name[n-len(robotSuffix):]) == robotSuffix {
		name = name[len(robotPrefix) : n-len(robotSuffix)]
	}
	sum := sha256.Sum256(secret)
	m := accounts.members[string(name)]
	tokens := g.dummy
	if m != nil && len(m.Tokens) > 0 {
		tokens = m.Tokens
	}
	var found *Token
	for i := range tokens {
		if subtle.ConstantTimeCompare(sum[:], tokens[i].Hash[:]) == 1 {
			found = &tokens[i]
		}
	}
	if found == nil || m == nil {
		return Caller{}, errWrong
	}
	return g.with(m, found)
}

// with is the caller who has shown a token of an account.
func (g *Gate) with(m *member, t *Token) (Caller, error) {
	if t.expired(g.now()) {
		return Caller{}, errExpired
	}
	return Caller{account: m, token: t, ends: t.Expires}, nil
}

// basic is the Authorization header of a name and secret that came otherwise.
func basic(name, secret string) []string {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(name, secret)
	return r.Header["Authorization"]
}
