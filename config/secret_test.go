package config

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
)

func TestWeakSecret(t *testing.T) {
	for _, secret := range []string{
		"changeme", "short", "correct-horse-battery-staple", strings.Repeat("a", 500), strings.Repeat("changeme", 6), strings.Repeat("changeme", 60),
		"0123456789abcdef0123456789abcdef", strings.Repeat("0", 64), strings.Repeat("01", 64), strings.Repeat("secret", 10),
	} {
		if WeakSecret(secret) == "" {
			t.Errorf("%q is accepted", secret)
		}
		err := load(t, "", "BERTH_HTTP_SECRET="+secret).Validate()
		if err == nil || strings.Contains(err.Error(), secret+" ") || !strings.Contains(err.Error(), "openssl rand -hex 32") || !strings.HasPrefix(err.Error(), "BERTH_HTTP_SECRET: http.secret: can be guessed") {
			t.Errorf("%q: got %v", secret, err)
		}
	}
	// 32 random bytes are accepted, whichever they are.
	for range 20_000 {
		var random [32]byte
		_, _ = rand.Read(random[:])
		for _, secret := range []string{hex.EncodeToString(random[:]), base64.RawURLEncoding.EncodeToString(random[:]), base64.StdEncoding.EncodeToString(random[:])} {
			if why := WeakSecret(secret); why != "" {
				t.Fatalf("%q: %s", secret, why)
			}
		}
	}
	if err := load(t, "", "BERTH_HTTP_SECRET="+rand.Text()+rand.Text()).Validate(); err != nil {
		t.Error(err)
	}
}
