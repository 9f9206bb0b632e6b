package access

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestIdentify(t *testing.T) {
	g, _ := gate(t, GateOptions{Secret: []byte("key")})
	secret := secretOf("alice", "laptop")
	std, raw := base64.StdEncoding, base64.RawURLEncoding
	signed := g.sign(identify(t, g, "alice", "laptop"), now)
	anonymous := g.sign(Caller{}, now)
	other := NewGate(g.accounts, GateOptions{Secret: []byte("another"), Now: g.now})
	tampered := []byte(signed)
	tampered[12] ^= 1
	for name, test := range map[string]struct {
		values []string
		want   string // name and label
		err    error
	}{
		"none":               {nil, " ", nil},
		"an empty one":       {[]string{""}, " ", nil},
		"basic":              {[]string{"Basic " + std.EncodeToString([]byte("alice:"+secret))}, "alice laptop", nil},
		"basic, lower case":  {[]string{"basic " + std.EncodeToString([]byte("alice:"+secret))}, "alice laptop", nil},
		"basic, URL":         {[]string{"Basic " + raw.EncodeToString([]byte("alice:"+secret))}, "alice laptop", nil},
		"bearer":             {[]string{"Bearer " + Bearer("alice", secret)}, "alice laptop", nil},
		"bearer, URL":        {[]string{"BEARER " + base64.URLEncoding.EncodeToString([]byte("alice:"+secret))}, "alice laptop", nil},
		"bearer, raw":        {[]string{"Bearer   " + raw.EncodeToString([]byte("alice:"+secret)) + " "}, "alice laptop", nil},
		"robot":              {[]string{"Bearer " + Bearer("robot$alice.users.kraftcloud", secret)}, "alice laptop", nil},
		"robot, basic":       {basic("robot$alice.users.kraftcloud", secret), "alice laptop", nil},
		"half a robot":       {basic("robot$alice", secret), "", errWrong},
		"nobody's robot":     {basic("robot$.users.kraftcloud", secret), "", errWrong},
		"read-only":          {basic("alice", secretOf("alice", "reader")), "alice reader", nil},
		"administrator":      {basic("root", secretOf("root", "laptop")), "root laptop", nil},
		"signed":             {[]string{"Bearer " + signed}, "alice laptop", nil},
		"signed, anonymous":  {[]string{"Bearer " + anonymous}, " ", nil},
		"expired":            {basic("alice", secretOf("alice", "old")), "", errExpired},
		"wrong":              {basic("alice", "hush"), "", errWrong},
		"another's":          {basic("bob", secret), "", errWrong},
		"unknown account":    {basic("stranger", secret), "", errWrong},
		"no tokens":          {basic("mute", secret), "", errWrong},
		"no secret":          {basic("alice", ""), "", errWrong},
		"no name":            {basic("", secret), "", errWrong},
		"nothing":            {basic("", ""), "", errWrong},
		"upper case":         {basic("Alice", secret), "", errWrong},
		"colon":              {basic("alice", secret+":"), "", errWrong},
		"no colon":           {[]string{"Basic " + std.EncodeToString([]byte("alice"))}, "", errMalformed},
		"the secret alone":   {[]string{"Bearer " + secret}, "", errMalformed},
		"not base64":         {[]string{"Basic ***"}, "", errMalformed},
		"both alphabets":     {[]string{"Basic +_+_"}, "", errMalformed},
		"line break":         {[]string{"Basic " + std.EncodeToString([]byte("alice:" + secret))[:8] + "\r\n" + std.EncodeToString([]byte("alice:" + secret))[8:]}, "", errMalformed},
		"no scheme":          {[]string{std.EncodeToString([]byte("alice:" + secret))}, "", errMalformed},
		"another scheme":     {[]string{"Digest " + std.EncodeToString([]byte("alice:"+secret))}, "", errMalformed},
		"scheme alone":       {[]string{"Bearer"}, "", errMalformed},
		"two":                {[]string{"Bearer " + signed, "Bearer " + signed}, "", errMalformed},
		"good after bad":     {[]string{"", "Bearer " + signed}, "", errMalformed},
		"oversized":          {basic("alice", strings.Repeat("x", 2000)), "", errMalformed},
		"enormous":           {[]string{"Bearer " + strings.Repeat("A", 1<<20)}, "", errMalformed},
		"signed as basic":    {[]string{"Basic " + signed}, "", errMalformed},
		"signed by another":  {[]string{"Bearer " + other.sign(identify(t, g, "alice", "laptop"), now)}, "", errMalformed},
		"signed, tampered":   {[]string{"Bearer " + string(tampered)}, "", errMalformed},
		"signed, no mac":     {[]string{"Bearer " + strings.SplitAfter(signed, ".")[0]}, "", errMalformed},
		"signed, cut":        {[]string{"Bearer " + signed[:len(signed)-1]}, "", errMalformed},
		"signed, too old":    {[]string{"Bearer " + g.sign(identify(t, g, "alice", "laptop"), now.Add(-lifetime))}, "", errExpired},
		"signed, still good": {[]string{"Bearer " + g.sign(identify(t, g, "alice", "laptop"), now.Add(time.Second-lifetime))}, "alice laptop", nil},
		"dots":               {[]string{"Bearer ."}, "", errMalformed},
		"more dots":          {[]string{"Bearer " + signed + "."}, "", errMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := g.Identify(request(test.values...))
			if !errors.Is(err, test.err) || err != nil && test.err == nil {
				t.Fatalf("got %v, want %v", err, test.err)
			}
			if err != nil {
				if !errors.Is(err, ErrUnauthorized) || c != (Caller{}) {
					t.Errorf("got %v and a caller %+v", err, c)
				}
				noSecret(t, err.Error())
				return
			}
			if got := c.Name() + " " + c.Label(); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// A token that is revoked, or that has expired, is refused from the next
// request on, also where a signed one was got with it. A mark counts at once.
func TestIdentifyRevoked(t *testing.T) {
	at := now
	g, path := gate(t, GateOptions{Now: func() time.Time { return at }})
	signed := request("Bearer " + g.sign(identify(t, g, "alice", "laptop"), now))
	change := func(change func(*Account) error) {
		t.Helper()
		err := Edit(path, func(f *File) error {
			a, err := f.Account("alice")
			if err != nil {
				return err
			}
			return change(a)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	want := func(r *http.Request, want error, mayWrite bool) {
		t.Helper()
		c, err := g.Identify(r)
		if !errors.Is(err, want) || err != nil && want == nil || c.MayWrite("alice/app") != mayWrite {
			t.Fatalf("got %v and %v", c.MayWrite("alice/app"), err)
		}
	}
	direct := request(basic("alice", secretOf("alice", "laptop"))...)
	want(signed, nil, true)

	change(func(a *Account) error { a.Tokens[0].ReadOnly = true; return nil })
	want(signed, nil, false)
	want(direct, nil, false)

	change(func(a *Account) error {
		a.Tokens[0].ReadOnly, a.Tokens[0].Expires = false, now.Add(time.Minute)
		return nil
	})
	want(signed, nil, true)
	at = now.Add(time.Minute)
	want(signed, errExpired, false)
	want(direct, errExpired, false)
	at = now

	change(func(a *Account) error { return a.RevokeToken("laptop") })
	want(signed, errWrong, false)
	want(direct, errWrong, false)

	// One with the same label is another token.
	change(func(a *Account) error {
		t, _ := NewToken("laptop")
		return a.AddToken(t)
	})
	want(signed, errWrong, false)

	if err := Edit(path, func(f *File) error { return f.Remove("alice") }); err != nil {
		t.Fatal(err)
	}
	want(signed, errWrong, false)
}

func TestIdentifyOpen(t *testing.T) {
	path := t.TempDir() + "/accounts.yaml"
	a, log := opened(t, path)
	g := NewGate(a, GateOptions{})
	for _, r := range []*http.Request{request(), request("Bearer rubbish"), request(basic("a", "b")...)} {
		if c, err := g.Identify(r); err != nil || c != Everyone() {
			t.Errorf("got %+v, %v", c, err)
		}
	}
	if a.Closed() || len(a.Current().Accounts()) != 0 {
		t.Error("closed without a file")
	}
	// The first account closes it, for the next request.
	err := Edit(path, func(f *File) error {
		if !f.New {
			t.Error("the file is not new")
		}
		return f.Add(Account{Name: "alice", Tokens: []Token{testToken("alice", "laptop")}})
	})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := g.Identify(request()); err != nil || !c.Anonymous() || c.MayRead("alice/app") {
		t.Errorf("got %+v, %v", c, err)
	}
	identify(t, g, "alice", "laptop")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	identify(t, g, "alice", "laptop")
	noSecret(t, log.String())
}

func FuzzIdentify(f *testing.F) {
	g, _ := gate(f, GateOptions{Secret: []byte("key")})
	signed := g.sign(identify(f, g, "alice", "laptop"), now)
	for _, s := range []string{
		"", "Basic", "Basic Og==", "Bearer " + signed, "Bearer .", "Bearer A.A", "Basic " + strings.Repeat("=", 50),
		"Bearer " + strings.Repeat("A", maxHeader-7), basic("stranger", "x")[0], basic("robot$alice.users.kraftcloud", "x")[0],
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		c, err := g.Identify(&http.Request{Header: http.Header{"Authorization": {value}}})
		if err != nil && (!errors.Is(err, ErrUnauthorized) || c != (Caller{})) {
			t.Errorf("%q: got %+v and %v", value, c, err)
		}
		if err == nil && value != "" && !strings.Contains(value, ".") {
			t.Errorf("%q: is %+v", value, c)
		}
	})
}

func BenchmarkIdentify(b *testing.B) {
	g, _ := gate(b, GateOptions{Secret: []byte("key")})
	for name, value := range map[string]string{
		"basic":   basic("alice", secretOf("alice", "laptop"))[0],
		"bearer":  "Bearer " + Bearer("alice", secretOf("alice", "laptop")),
		"signed":  "Bearer " + g.sign(identify(b, g, "alice", "laptop"), now),
		"unknown": basic("stranger", secretOf("alice", "laptop"))[0],
		"none":    "",
	} {
		b.Run(name, func(b *testing.B) {
			r := request(value)
			b.ReportAllocs()
			for b.Loop() {
				if c, err := g.Identify(r); err == nil && c.Name() == "" && value != "" {
					b.Fatal("not identified")
				}
			}
		})
	}
}

// TestKeys wants a key of its own for each purpose: what is signed with one is
// nothing to the others.
func TestKeys(t *testing.T) {
	g, _ := gate(t, GateOptions{Secret: []byte("key")})
	payload, _, _ := strings.Cut(g.SignLocal("alice"), ".")
	text, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		t.Fatal(err)
	}
	r := request()
	r.RemoteAddr = "127.0.0.1:1"
	for name, key := range map[string]*hmacs{"tokens": g.tokens, "nothing": newHMACs([]byte("key"))} {
		mac := key.sum(text)
		r.Header.Set("Authorization", "Bearer "+payload+"."+base64.RawURLEncoding.EncodeToString(mac[:]))
		if c, err := g.Identify(r); err == nil {
			t.Errorf("a local token with the key of %s is %s", name, c.Name())
		}
	}
	r.Header.Set("Authorization", "Bearer "+g.SignLocal("alice"))
	if _, err := g.Identify(r); err != nil {
		t.Errorf("a local token: %v", err)
	}
	token := g.sign(identify(t, g, "alice", "laptop"), now)
	payload, _, _ = strings.Cut(token, ".")
	if text, err = base64.RawURLEncoding.DecodeString(payload); err != nil {
		t.Fatal(err)
	}
	mac := g.local.sum(text)
	r.Header.Set("Authorization", "Bearer "+payload+"."+base64.RawURLEncoding.EncodeToString(mac[:]))
	if c, err := g.Identify(r); err == nil {
		t.Errorf("a token with the key of local ones is %s", c.Name())
	}
	if keys := [][]byte{DeriveKey([]byte("s"), "a"), DeriveKey([]byte("s"), "b"), DeriveKey([]byte("t"), "a")}; len(keys[0]) != 32 ||
		bytes.Equal(keys[0], keys[1]) || bytes.Equal(keys[0], keys[2]) || !bytes.Equal(keys[0], DeriveKey([]byte("s"), "a")) {
		t.Errorf("derived: %x", keys)
	}
}

func TestSignLocal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts.yaml")
	err := Edit(path, func(f *File) error { return f.Add(Account{Name: "alice"}) })
	if err != nil {
		t.Fatal(err)
	}
	accounts, err := Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer accounts.Close()
	now := time.Now()
	gate := NewGate(accounts, GateOptions{Secret: []byte("secret"), Now: func() time.Time { return now }})
	peer, header := "127.0.0.1:40000", ""
	ask := func(token string) (Caller, error) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = peer
		r.Header.Set("Authorization", "Bearer "+token)
		if header != "" {
			r.Header.Set(header, "127.0.0.1")
		}
		own := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 5000}
		return gate.Identify(r.WithContext(context.WithValue(t.Context(), http.LocalAddrContextKey, own)))
	}
	command := NewGate(nil, GateOptions{Secret: []byte("secret"), Now: func() time.Time { return now }})
	c, err := ask(command.SignLocal("alice"))
	if err != nil || c.Name() != "alice" || !c.MayRead("alice/app") || c.MayWrite("alice/app") || c.MayRead("bob/app") {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := ask(command.SignLocal("bob")); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("an account that is not there: %v", err)
	}
	if _, err := ask(NewGate(nil, GateOptions{Secret: []byte("other")}).SignLocal("alice")); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("another secret: %v", err)
	}
	for _, peer = range []string{"127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.9]:1", "192.0.2.7:1"} {
		if _, err := ask(command.SignLocal("alice")); err != nil {
			t.Errorf("from %s, on this machine: %v", peer, err)
		}
	}
	for _, peer = range []string{"192.0.2.8:1", "10.0.0.1:1", "[2001:db8::1]:1", "@", ""} {
		if _, err := ask(command.SignLocal("alice")); !errors.Is(err, ErrUnauthorized) {
			t.Errorf("from %q, on another machine: %v", peer, err)
		}
	}
	peer = "127.0.0.1:40000"
	for _, header = range []string{"X-Forwarded-For", "Forwarded", "Via", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-Ip"} {
		if _, err := ask(command.SignLocal("alice")); !errors.Is(err, ErrUnauthorized) {
			t.Errorf("through a proxy on this machine (%s): %v", header, err)
		}
	}
	header = ""
	// Whoever has the secret for a moment does not have it for years.
	ahead := NewGate(nil, GateOptions{Secret: []byte("secret"), Now: func() time.Time { return now.Add(3 * time.Second) }})
	if _, err := ask(ahead.SignLocal("alice")); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("one that lives longer than a minute: %v", err)
	}
	old := command.SignLocal("alice")
	now = now.Add(time.Minute)
	if _, err := ask(old); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("an old one: %v", err)
	}
}
