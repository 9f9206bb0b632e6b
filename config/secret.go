package config

import (
	"fmt"
	"strings"
)

const (
	// leastSecret is how many characters 32 random bytes have in base64, and
	// leastHex how many in hexadecimal digits.
	leastSecret = 43
	leastHex    = 64
	// leastRuns is how many different runs of three characters a secret has. 32
	// random bytes have some 40 or 60, words that are repeated only a few.
	leastRuns = 32
)

// WeakSecret says why a secret may be guessed from what is signed with it, ""
// if it may not: it is to hold 32 random bytes, in hexadecimal digits, in base64
// or in a form like these. The answer shows nothing of it.
func WeakSecret(secret string) string {
	const want = "it wants 32 random bytes, as \"openssl rand -hex 32\" makes them; or leave it out: berth makes one, and keeps it in the data folder"
	least := leastSecret
	if strings.Trim(secret, "0123456789abcdefABCDEF") == "" {
		least = leastHex
	}
	if len(secret) < least {
		return fmt.Sprintf("can be guessed: it has %d characters, and 32 random bytes need %d; %s", len(secret), least, want)
	}
	runs := map[string]bool{}
	for i := range len(secret) - 2 {
		runs[secret[i:i+3]] = true
	}
	if len(runs) < leastRuns {
		return "can be guessed: it repeats itself; " + want
	}
	return ""
}
