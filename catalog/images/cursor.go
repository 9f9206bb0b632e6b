package images

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"

	"github.com/berth-oci/berth/catalog/index"
)

// cursorPrefix begins what a client is given to go on with: no other form of a
// place in a list has it. It tells the version.
const cursorPrefix = "c1."

// cursors seals the cursors of the catalog. They hold names of images that the
// client may not know of, and whoever could make one could ask for anything.
type cursors struct{ aead cipher.AEAD }

// newCursors takes a key of 32 bytes, nil for a random one.
func newCursors(key []byte) *cursors {
	if key == nil {
		key = make([]byte, 32)
		_, _ = rand.Read(key) // never fails
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the key has the wrong size
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // it is a cipher of that kind
	}
	return &cursors{aead}
}

// list is what two pages of one list have in common.
func (q query) list() []byte {
	text, err := json.Marshal(struct {
		Within             []string
		Tagged, Descending bool
	}{slices.Sorted(slices.Values(q.namespaces)), q.tagged, q.descending})
	if err != nil {
		panic(err) // strings and flags
	}
	return text
}

// seal makes a cursor of a list fit for clients.
func (s *cursors) seal(c index.Cursor, q query) string {
	return cursorPrefix + base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, []byte(c), q.list()))
}

// open undoes seal, for the same list; its errors are *failure.
func (s *cursors) open(sealed string, q query) (index.Cursor, error) {
	text, err := base64.RawURLEncoding.Strict().DecodeString(strings.TrimPrefix(sealed, cursorPrefix))
	if err == nil {
		text, err = s.aead.Open(nil, nil, text, q.list())
	}
	if err != nil {
		return "", malformed("query parameter after: %s does not go on with this list; want the value in the link to its next page, "+
			"with the same namespace, tagged and order, or a uuid, a url or a time", shown(sealed))
	}
	return index.Cursor(text), nil
}
