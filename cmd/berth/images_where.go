package main

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/berth-oci/berth/cmd/berth/remote"
	"github.com/berth-oci/berth/config"
)

// where says which registry is meant, and by which token.
type where struct {
	host, tokenFile string
	plain           bool
}

func (w *where) flags(f *pflag.FlagSet) {
	f.StringVar(&w.host, "host", "", "the registry that is meant where none is named (default "+config.EnvHost+", the metro of UKC_METRO, or "+defaultHost+")")
	f.StringVar(&w.tokenFile, "token-file", "", "file with the token for that host, - for standard input")
	f.BoolVar(&w.plain, "plain-http", false, "speak http with that host, also if it is not this machine")
}

const (
	defaultHost = "127.0.0.1:5000"
	// maxToken is how long a file with a token may be, in bytes.
	maxToken = 8 << 10
)

// variables are those of the environment that name a host, and a token for it.
var variables = []struct {
	host   string
	tokens []string
	// hostOf reads the value of host.
	hostOf func(value string) string
}{
	{config.EnvHost, []string{config.EnvToken}, func(value string) string { return value }},
	{"UKC_METRO", []string{"UKC_TOKEN", "UNIKRAFT_CLOUD_TOKEN"}, metroHost},
	{"KRAFTCLOUD_METRO", []string{"KRAFTCLOUD_TOKEN"}, metroHost},
}

// metroHost is where a metro's API is: the platform's clients name one by its
// address, its domain, or a word.
func metroHost(metro string) string {
	switch {
	case strings.Contains(metro, "://"):
		return metro
	case strings.Contains(metro, "."):
		return "https://api." + metro
	default:
		return "https://api." + metro + ".kraft.cloud"
	}
}

// options are how registries are reached.
func (w *where) options(stdin io.Reader) (remote.Options, error) {
	given := w.host
	for _, v := range variables {
		if value := os.Getenv(v.host); given == "" && value != "" {
			given = v.hostOf(value)
		}
	}
	host, plain, err := readHost(cmp.Or(given, defaultHost))
	if err != nil {
		return remote.Options{}, err
	}
	o := remote.Options{Host: host, Agent: "berth/" + version(), Plain: func(other string) bool {
		if other != host {
			return remote.Loopback(other)
		}
		return w.plain || plain
	}}
	token, from, err := w.token(host, stdin)
	if err != nil || token == "" {
		return o, err
	}
	if o.Account, o.Secret, err = readToken(token); err != nil {
		return o, usageError{fmt.Errorf("%s: %w", from, err)}
	}
	return o, nil
}

// readHost reads a host, or the address of one, and says whether it is spoken to
// without TLS.
func readHost(text string) (host string, plain bool, err error) {
	if !strings.Contains(text, "://") {
		return text, remote.Loopback(text), nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || strings.Trim(u.Path, "/") != "" && u.Path != "/v1" || u.RawQuery != "" || u.Fragment != "" {
		return "", false, usageError{errors.New("the host is no address of a registry: it wants something like registry.example.com, 127.0.0.1:5000 or https://registry.example.com")}
	}
	return u.Host, u.Scheme == "http", nil
}

// token is the one for a host, and where it is from; "" for none.
func (w *where) token(host string, stdin io.Reader) (token, from string, err error) {
	if w.tokenFile != "" {
		text, err := readTokenFile(w.tokenFile, stdin)
		if err == nil && text == "" {
			err = errors.New("is empty")
		}
		if err != nil {
			return "", "", usageError{fmt.Errorf("--token-file: %w", err)}
		}
		return text, "--token-file", nil
	}
	for _, v := range variables {
		if value := os.Getenv(v.host); value != "" {
			// The token is for that host, and no other one is shown it.
			if own, _, err := readHost(v.hostOf(value)); err != nil || own != host {
				continue
			}
		}
		for _, name := range v.tokens {
			if value := strings.TrimSpace(os.Getenv(name)); value != "" {
				return value, name, nil
			}
		}
	}
	return "", "", nil
}

func readTokenFile(path string, stdin io.Reader) (string, error) {
	in := stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxToken+1))
	if err == nil && len(text) > maxToken {
		err = fmt.Errorf("is longer than %d bytes", maxToken)
	}
	return strings.TrimSpace(string(text)), err
}

// readToken reads account and secret: the base64 of both, as the platform's
// clients have it, or both as they are. The error shows nothing of it.
func readToken(text string) (account, secret string, err error) {
	plain := text
	if !strings.Contains(text, ":") {
		encoding := base64.RawStdEncoding
		if strings.ContainsAny(text, "-_") {
			encoding = base64.RawURLEncoding
		}
		decoded, err := encoding.DecodeString(strings.TrimRight(text, "="))
		if err != nil {
			return "", "", errToken
		}
		plain = string(decoded)
	}
	account, secret, ok := strings.Cut(plain, ":")
	if !ok || account == "" || secret == "" || strings.ContainsAny(plain, "\r\n") {
		return "", "", errToken
	}
	return account, secret, nil
}

var errToken = errors.New("holds no token: it wants the base64 of account:token, as berth account add prints it, or account:token itself")
