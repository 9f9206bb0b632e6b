package access

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"hash"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// ErrUnauthorized is the error for credentials that are wrong, malformed or
// expired. Its message, and that of every error around it, is fit for clients.
var ErrUnauthorized = errors.New("the credentials are not valid")

// GateOptions configure a [Gate].
type GateOptions struct {
	// Secret is what the key for signed tokens is derived from; it may be used
	// for other things too. Several gates with the same one accept each other's
	// tokens. None means a random key: tokens end with the process.
	Secret []byte
	// Service is the name of the registry in challenges; "" means berth.
	Service string
	// PublicURL is scheme and host under which clients reach the registry; ""
	// means those of each request.
	PublicURL string
	// AnonymousOfficial lets everyone read the official images.
	AnonymousOfficial bool
	// Log may be nil.
	Log *slog.Logger
	// Now may be nil.
	Now func() time.Time
}

// Gate turns the credentials of requests into callers, and gives out the
// short-lived tokens that OCI clients ask for. It is safe for concurrent use.
type Gate struct {
	accounts *Accounts
	service  string
	public   string
	official bool
	log      *slog.Logger
	now      func() time.Time
	macs     sync.Pool // of hash.Hash, keyed
	failures failureLimiter
	// dummy is what the tokens of unknown accounts are compared with.
	dummy []Token
}

// NewGate makes a gate for the accounts.
func NewGate(a *Accounts, o GateOptions) *Gate {
	g := &Gate{accounts: a, service: o.Service, public: o.PublicURL, official: o.AnonymousOfficial, log: o.Log, now: o.Now}
	if g.service == "" {
		g.service = "berth"
	}
	if u, err := url.Parse(o.PublicURL); err != nil || u.Host == "" {
		g.public = ""
	}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	if g.now == nil {
		g.now = time.Now
	}
	secret := o.Secret
	if len(secret) == 0 {
		secret = make([]byte, 32)
		_, _ = rand.Read(secret) // never fails
	}
	derive := hmac.New(sha256.New, secret)
	derive.Write([]byte("berth: tokens of the token endpoint, version 1"))
	key := derive.Sum(nil)
	g.macs.New = func() any { return hmac.New(sha256.New, key) }
	dummy, _ := NewToken("")
	g.dummy = []Token{dummy}
	return g
}

func (g *Gate) mac(message []byte) [sha256.Size]byte {
	h := g.macs.Get().(hash.Hash)
	defer g.macs.Put(h)
	h.Reset()
	h.Write(message)
	var sum [sha256.Size]byte
	h.Sum(sum[:0])
	return sum
}

// HasCredentials reports whether a request brings any, good or not. A client that
// brings none must be challenged at /v2/ even where anonymous callers may read
// something, or it would never send those that it has.
func HasCredentials(r *http.Request) bool {
	return len(r.Header["Authorization"]) > 1 || r.Header.Get("Authorization") != ""
}

// Identify says who a request comes from. In an open registry that is
// [Everyone], whatever is sent; without credentials it is an anonymous caller.
//
// A request brings account and secret, as Basic or, in base64, as a Bearer, or
// a token that was signed by the token endpoint. The latter is good for as long
// as the token that it was got with is: whatever is revoked is refused from the
// next request on.
//
// The error is [ErrUnauthorized] for credentials that are wrong, malformed or
// expired; the caller is anonymous then and may do nothing.
func (g *Gate) Identify(r *http.Request) (Caller, error) {
	accounts := g.accounts.fresh()
	if accounts.open {
		return Everyone(), nil
	}
	if !HasCredentials(r) {
		return g.anonymous(), nil
	}
	return g.authorize(accounts, r.Header["Authorization"], true)
}

func (g *Gate) anonymous() Caller { return Caller{official: g.official} }
