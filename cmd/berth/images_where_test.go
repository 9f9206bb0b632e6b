package main

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/berth-oci/berth/cmd/berth/remote"
)

func TestReadToken(t *testing.T) {
	pair := base64.StdEncoding.EncodeToString([]byte("alice:berth_x-y"))
	for text, want := range map[string]string{
		pair: "alice", strings.TrimRight(pair, "="): "alice", base64.URLEncoding.EncodeToString([]byte("alice:?>?>?>")): "alice",
		"alice:berth_x": "alice", base64.StdEncoding.EncodeToString([]byte("robot$alice.users.kraftcloud:s")): "robot$alice.users.kraftcloud",
	} {
		account, secret, err := readToken(text)
		if err != nil || account != want || secret == "" {
			t.Errorf("%s: got %q, %v", text, account, err)
		}
	}
	for _, text := range []string{
		"", ":", "alice:", ":secret", "berth_xyz", "****", base64.StdEncoding.EncodeToString([]byte("alice")), base64.StdEncoding.EncodeToString([]byte("alice:")),
		base64.StdEncoding.EncodeToString([]byte("alice:a\nb")), pair + " " + pair, strings.Repeat("A", 64<<10),
	} {
		if account, _, err := readToken(text); err == nil || text != "" && len(text) > 8 && strings.Contains(err.Error(), text) {
			t.Errorf("%.40q: got %q, %v", text, account, err)
		}
	}
}

// The host that is meant, and the token for it, as flags and variables say.
func TestWhere(t *testing.T) {
	for _, name := range []string{"BERTH_HOST", "BERTH_TOKEN", "UKC_METRO", "UKC_TOKEN", "UNIKRAFT_CLOUD_TOKEN", "KRAFTCLOUD_METRO", "KRAFTCLOUD_TOKEN"} {
		t.Setenv(name, "")
	}
	for _, test := range []struct {
		where where
		env   string
		host  string
		plain bool
		who   string
	}{
		{where{}, "", "127.0.0.1:5000", true, ""},
		{where{host: "registry.example.com"}, "BERTH_HOST=other.example.com BERTH_TOKEN=a:b", "registry.example.com", false, ""},
		{where{host: "other.example.com"}, "BERTH_HOST=https://other.example.com BERTH_TOKEN=a:b", "other.example.com", false, "a"},
		{where{host: "registry.example.com"}, "BERTH_TOKEN=a:b UKC_TOKEN=c:d", "registry.example.com", false, "a"},
		{where{}, "BERTH_HOST=http://registry.lan:5000", "registry.lan:5000", true, ""},
		{where{host: "registry.lan:5000", plain: true}, "", "registry.lan:5000", true, ""},
		{where{host: "https://127.0.0.1:5000"}, "", "127.0.0.1:5000", false, ""},
		{where{}, "UKC_METRO=fra.lan UKC_TOKEN=c:d", "api.fra.lan", false, "c"},
		{where{}, "UKC_METRO=fra0 UKC_TOKEN=c:d", "api.fra0.kraft.cloud", false, "c"},
		{where{}, "UKC_METRO=https://api.fra.lan/v1 UKC_TOKEN=c:d KRAFTCLOUD_TOKEN=e:f", "api.fra.lan", false, "c"},
		{where{}, "UKC_METRO=fra.lan KRAFTCLOUD_METRO=dal.lan KRAFTCLOUD_TOKEN=e:f", "api.fra.lan", false, ""},
		{where{host: "api.dal.lan"}, "UKC_METRO=fra.lan UKC_TOKEN=c:d KRAFTCLOUD_METRO=dal.lan KRAFTCLOUD_TOKEN=e:f", "api.dal.lan", false, "e"},
		{where{}, "UKC_METRO=fra.lan UNIKRAFT_CLOUD_TOKEN=g:h", "api.fra.lan", false, "g"},
		{where{}, "BERTH_HOST=registry.lan UKC_TOKEN=c:d", "registry.lan", false, "c"},
		{where{}, "BERTH_HOST=registry.lan UKC_METRO=fra.lan UKC_TOKEN=c:d", "registry.lan", false, ""},
	} {
		t.Run(test.env+" "+test.where.host, func(t *testing.T) {
			for variable := range strings.FieldsSeq(test.env) {
				name, value, _ := strings.Cut(variable, "=")
				t.Setenv(name, value)
			}
			o, err := test.where.options(strings.NewReader(""))
			if err != nil || o.Host != test.host || o.Plain(o.Host) != test.plain || o.Account != test.who || (o.Secret != "") != (test.who != "") {
				t.Errorf("got %+v, %v", o, err)
			}
			// What is said of the host is said of no other.
			if o.Plain("registry.example.org") || !o.Plain("localhost:5001") {
				t.Error("another host is spoken to as this one")
			}
		})
	}
	if o, err := (&where{tokenFile: "-"}).options(strings.NewReader("a:b\n")); err != nil || o.Account != "a" || o.Secret != "b" {
		t.Errorf("from standard input: %+v, %v", o, err)
	}
	if _, err := (&where{tokenFile: "-"}).options(strings.NewReader("")); !errors.Is(err, remote.ErrUsage) {
		t.Errorf("of nothing: %v", err)
	}
}

// The status of each kind of error; an error of two kinds has the more certain one.
func TestExitStatus(t *testing.T) {
	for err, want := range map[error]int{
		errSilent: 1, errors.New("x"): 1, usageError{errors.New("x")}: 2, remote.ErrUsage: 2, remote.ErrNotFound: 3, remote.ErrDenied: 4, remote.ErrUnavailable: 5, remote.ErrContent: 6,
		errors.Join(remote.ErrUnavailable, remote.ErrContent): 6,
	} {
		if got := exitStatus(err); got != want {
			t.Errorf("%v: got %d, want %d", err, got, want)
		}
	}
}
