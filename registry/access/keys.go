package access

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"net"
	"net/http"
	"net/netip"
	"sync"
)

// DeriveKey makes a key of 32 bytes of a secret, for one purpose: who has it
// learns nothing of the secret, nor of the key for another purpose. It is HKDF
// (RFC 5869) with SHA-256.
func DeriveKey(secret []byte, purpose string) []byte {
	key, err := hkdf.Key(sha256.New, secret, nil, "berth, version 2: "+purpose, sha256.Size)
	if err != nil {
		panic(err) // a longer key than there can be
	}
	return key
}

// hmacs makes HMACs with one key. It is safe for concurrent use.
type hmacs struct{ pool sync.Pool } // of hash.Hash, keyed

func newHMACs(key []byte) *hmacs {
	return &hmacs{sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}}
}

func (h *hmacs) sum(message []byte) [sha256.Size]byte {
	m := h.pool.Get().(hash.Hash)
	defer h.pool.Put(m)
	m.Reset()
	m.Write(message)
	var sum [sha256.Size]byte
	m.Sum(sum[:0])
	return sum
}

// forwarded are the headers by which a proxy says that it is one.
var forwarded = []string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip"}

// fromHere reports whether a request comes from this machine: from loopback, or
// from the very address that it came to. What a proxy passes on does not.
func fromHere(r *http.Request) bool {
	for _, name := range forwarded {
		if len(r.Header[name]) > 0 {
			return false
		}
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	from := peer.Addr().Unmap()
	if from.IsLoopback() {
		return true
	}
	own, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	to, err := netip.ParseAddrPort(own.String())
	return err == nil && to.Addr().Unmap() == from
}
