package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
)

// Secret is the key of an HMAC: with Standard Webhooks, 24 to 64 random bytes.
type Secret []byte

// Sign returns the header webhook-signature for what is sent with an ID at a time in
// Unix seconds: of each secret "v1," and the base64 of the HMAC-SHA256 of
// "<id>.<time>.<body>", separated by spaces. See the specification of Standard
// Webhooks, "Signature scheme".
func Sign(secrets []Secret, id string, at int64, body []byte) string {
	signatures := make([]string, len(secrets))
	for i, key := range secrets {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + strconv.FormatInt(at, 10) + "."))
		mac.Write(body)
		signatures[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	return strings.Join(signatures, " ")
}
