// Package access says who asks, and what they may do.
//
// Accounts and the hashes of their tokens are kept in a file ([File], [Edit]).
// [Accounts] is its live content: a change of the file holds from the next
// request on, and a file that broke or vanished leaves the last good one in
// force. [Gate] turns the credentials of a request into a [Caller], which
// answers what that caller may read and write. Without a file the registry is
// open: everybody may do everything.
//
// The package knows neither storage nor routes. Repositories are always named
// in their long form, official/app, as they are stored.
package access

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"time"
)

// Account is a name, what it may do beside its own namespace, and the tokens
// by which it is known.
type Account struct {
	// Name is also the account's namespace: one part of a repository's name.
	Name string
	// Admin may read and write everything.
	Admin bool
	// Quota is how many bytes the namespace may hold; 0 means no limit.
	Quota int64
	// Tokens are sorted as they are in the file; their labels differ.
	Tokens []Token
	// Read and Write are what else the account may read or write: namespaces
	// ("team") or repositories ("bob/app"), each with all that lies below it.
	// What may be written may also be read.
	Read, Write []string
}

// Token is a secret of an account, without the secret.
type Token struct {
	// Label tells the tokens of one account apart. It is shown in logs.
	Label string
	// Hash is the SHA-256 of the secret. Secrets are 256 random bits, so there
	// is nothing that a slow hash would make harder to guess.
	Hash [sha256.Size]byte
	// Created is zero if the file does not say.
	Created time.Time
	// Expires is zero for never.
	Expires time.Time
	// ReadOnly takes the right to write away.
	ReadOnly bool
}

// secretPrefix lets scanners for leaked secrets recognise one, and keeps a
// secret from beginning with a dash, which a command line takes for a flag.
const secretPrefix = "berth_"

// NewToken makes a token with a secret of 256 random bits. The secret is in
// no other place afterwards: whoever calls must show it to its owner. It is
// made of letters, digits, - and _.
func NewToken(label string) (t Token, secret string) {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails
	secret = secretPrefix + base64.RawURLEncoding.EncodeToString(random[:])
	return Token{Label: label, Hash: sha256.Sum256([]byte(secret))}, secret
}

// Bearer is what the platform's clients call the token, in UKC_TOKEN or as the
// bearer of a request: account and secret in base64.
func Bearer(account, secret string) string {
	return base64.StdEncoding.EncodeToString([]byte(account + ":" + secret))
}

// expired reports whether the token is of no use at that time.
func (t *Token) expired(now time.Time) bool {
	return !t.Expires.IsZero() && !now.Before(t.Expires)
}
