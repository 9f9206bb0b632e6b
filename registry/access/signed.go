package access

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"
)

// lifetime is how long a signed token is good. Clients get a new one by
// themselves.
const lifetime = 5 * time.Minute

// A signed token is base64url(payload) "." base64url(mac), so that it is never
// mistaken for an account and secret in base64, which has no dot. The payload:
//
//	1 byte   kind
//	8 bytes  the end of its life, in seconds since 1970, big endian
//	16 bytes the beginning of the hash of the token that it was got with
//	the rest the account's name
//
// An anonymous one ends after the second field, and a local one has the name
// there.
const (
	signedAccount   = 'a'
	signedAnonymous = 'n'
	signedLocal     = 'l'

	endAt, hashAt, nameAt = 1, 9, 25
)

// sign gives out a token for a caller of a closed registry.
func (g *Gate) sign(c Caller, now time.Time) string {
	payload := make([]byte, hashAt, nameAt+maxName)
	payload[0] = signedAnonymous
	binary.BigEndian.PutUint64(payload[endAt:], uint64(now.Add(lifetime).Unix()))
	if c.account != nil {
		payload[0] = signedAccount
		payload = append(payload, c.token.Hash[:nameAt-hashAt]...)
		payload = append(payload, c.account.Name...)
	}
	sum := g.tokens.sum(payload)
	return base64.RawURLEncoding.EncodeToString(payload) + "." + base64.RawURLEncoding.EncodeToString(sum[:])
}

// SignLocal makes a token that reads as an account for a moment. Whoever has the
// gate's secret is the operator: it lets the commands on the same machine ask a
// running berth what only it knows. It is good for a minute, from this machine
// only.
func (g *Gate) SignLocal(account string) string {
	payload := make([]byte, hashAt, hashAt+maxName)
	payload[0] = signedLocal
	binary.BigEndian.PutUint64(payload[endAt:], uint64(g.now().Add(localLifetime).Unix()))
	payload = append(payload, account...)
	sum := g.local.sum(payload)
	return base64.RawURLEncoding.EncodeToString(payload) + "." + base64.RawURLEncoding.EncodeToString(sum[:])
}

const localLifetime = time.Minute

// localToken is what a local token stands for.
var localToken = Token{Label: "local", ReadOnly: true}

// verify says who a signed token was given to. What the accounts file says now
// is what counts: a token of it that is gone or has expired is of no use here
// either.
func (g *Gate) verify(accounts *Snapshot, encoded, encodedMAC string, local bool) (Caller, error) {
	var space [nameAt + maxName + 2]byte
	var macSpace [sha256.Size + 2]byte
	payload, ok := decode(space[:], encoded)
	mac, okMAC := decode(macSpace[:], encodedMAC)
	if !ok || !okMAC || len(payload) < hashAt {
		return Caller{}, errMalformed
	}
	key := g.tokens
	if payload[0] == signedLocal {
		key = g.local
	}
	sum := key.sum(payload)
	if !hmac.Equal(mac, sum[:]) {
		return Caller{}, errMalformed
	}
	end, now := binary.BigEndian.Uint64(payload[endAt:]), uint64(g.now().Unix())
	if now >= end {
		return Caller{}, errExpired
	}
	ends := time.Unix(int64(min(end, 1<<40)), 0) //nolint:gosec // bounded
	if payload[0] == signedAnonymous {
		c := g.anonymous(accounts)
		c.ends = ends
		return c, nil
	}
	if payload[0] == signedLocal {
		// It is made by the same clock a moment before, and never sent far.
		if !local || end-now > uint64(localLifetime/time.Second) {
			return Caller{}, errWrong
		}
		m := accounts.members[string(payload[hashAt:])]
		if m == nil {
			return Caller{}, errWrong
		}
		return Caller{account: m, token: &localToken, ends: ends}, nil
	}
	if payload[0] != signedAccount || len(payload) <= nameAt {
		return Caller{}, errMalformed
	}
	m := accounts.members[string(payload[nameAt:])]
	if m == nil {
		return Caller{}, errWrong
	}
	for i := range m.Tokens {
		if bytes.Equal(payload[hashAt:nameAt], m.Tokens[i].Hash[:nameAt-hashAt]) {
			c, err := g.with(m, &m.Tokens[i])
			if c.ends.IsZero() || ends.Before(c.ends) {
				c.ends = ends
			}
			return c, err
		}
	}
	return Caller{}, errWrong
}
