package client

import (
	"context"
	"encoding/base64"
	"os"
	"strings"
)

// TokenSource returns the token of a request, as berth account prints it for the
// platform's clients: the base64 of account:secret. "" asks without one. It is
// called for each request, concurrently.
type TokenSource func(context.Context) (string, error)

// Token is always the same one.
func Token(token string) TokenSource {
	return func(context.Context) (string, error) { return token, nil }
}

// AccountToken is that of an account and its secret.
func AccountToken(account, secret string) TokenSource {
	return Token(base64.StdEncoding.EncodeToString([]byte(account + ":" + secret)))
}

// FileToken reads the token from a file, each time, so that a new one is taken up.
func FileToken(path string) TokenSource {
	return func(context.Context) (string, error) {
		text, err := os.ReadFile(path)
		return strings.TrimSpace(string(text)), err
	}
}

// EnvironmentToken is that of the variables of the platform's clients: UKC_TOKEN,
// UNIKRAFT_CLOUD_TOKEN or KRAFTCLOUD_TOKEN, the first that is set.
func EnvironmentToken(context.Context) (string, error) {
	for _, name := range []string{"UKC_TOKEN", "UNIKRAFT_CLOUD_TOKEN", "KRAFTCLOUD_TOKEN"} {
		if token := os.Getenv(name); token != "" {
			return token, nil
		}
	}
	return "", nil
}
