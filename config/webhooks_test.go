package config

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// random is a secret of the length that openssl rand -base64 32 makes.
var random = base64.StdEncoding.EncodeToString([]byte("0123456789abcdefghijklmnopqrstuv"))

func TestWebhooks(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("whsec_"+random+"\n"+random+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := load(t, `events:
  internal_networks: [10.0.0.0/8, 127.0.0.1]
  webhooks:
    scheduler:
      url: https://scheduler.example.com/berth
      secret: `+random+`
      namespaces: [alice, bob/app]
      types: push, delete
    on-site:
      url: http://10.1.2.3:8080/
      secret_file: `+file+`
      repositories: [official/nginx]
`, "BERTH_EVENTS_WEBHOOKS_ON_SITE_TYPES=tag", "BERTH_EVENTS_WEBHOOKS_LATER_URL=http://[::ffff:127.0.0.1]:9000", "BERTH_EVENTS_WEBHOOKS_LATER_SECRET_FILE="+file)
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	want := map[string]*Webhook{
		"scheduler": {URL: "https://scheduler.example.com/berth", Secret: random, Namespaces: Names{"alice", "bob/app"}, Types: Names{"push", "delete"}},
		"on-site":   {URL: "http://10.1.2.3:8080/", SecretFile: file, Repositories: Names{"official/nginx"}, Types: Names{"tag"}},
		"later":     {URL: "http://[::ffff:127.0.0.1]:9000", SecretFile: file},
	}
	if !reflect.DeepEqual(c.Events.Webhooks, want) {
		t.Errorf("got %+v", c.Events.Webhooks)
	}
	for name, n := range map[string]int{"scheduler": 1, "on-site": 2} {
		if keys, err := c.Events.Webhooks[name].Keys(); err != nil || len(keys) != n || len(keys[0]) != 32 {
			t.Errorf("%s: %d keys, %v", name, len(keys), err)
		}
	}
	out := printed(t, c)
	if strings.Contains(out, random) || !strings.Contains(out, "    scheduler:\n      url: https://scheduler.example.com/berth\n      secret: '********'\n") {
		t.Errorf("printed as\n%s", out)
	}
	again, err := Load(write(t, out), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Validate(); err == nil || !strings.Contains(err.Error(), "events.webhooks.scheduler.secret: is the mask") {
		t.Errorf("what was printed: %v", err)
	}
}

// TestWebhooksRefused: each mistake is named with where it is, and no secret shown.
func TestWebhooksRefused(t *testing.T) {
	const url = "url: https://a.example.com, "
	for name, test := range map[string]struct{ text, want string }{
		"no address":       {"secret: " + random, "berth.yaml: events.webhooks.x.url: is missing"},
		"not a URL":        {"url: ':', secret: " + random, "url: is not a URL"},
		"another scheme":   {"url: 'ftp://a', secret: " + random, "url: does not begin with https://"},
		"a host alone":     {"url: 'a.example.com', secret: " + random, "url: does not begin with https://"},
		"no host":          {"url: 'https:///x', secret: " + random, "url: has no host"},
		"a port":           {"url: 'https://a:70000', secret: " + random, "url: has a port"},
		"a password":       {"url: 'https://u:hidden@a', secret: " + random, "url: holds a user or password"},
		"a fragment":       {"url: 'https://a/#x', secret: " + random, "url: has a fragment"},
		"loopback":         {"url: 'http://127.0.0.1:80', secret: " + random, "url: leads inside the network; events.internal_networks"},
		"loopback by name": {"url: 'http://LOCALHOST.', secret: " + random, "url: leads inside the network"},
		"loopback mapped":  {"url: 'http://[::ffff:7f00:1]', secret: " + random, "url: leads inside the network"},
		"link-local":       {"url: 'http://169.254.169.254/latest', secret: " + random, "url: leads inside the network"},
		"no secret":        {url, "secret: is missing"},
		"two secrets":      {url + "secret_file: x, secret: " + random, "secret_file: is set beside secret"},
		"a short secret":   {url + "secret: aGlkZGVu", "secret: is no secret of a webhook"},
		"no base64":        {url + "secret: hidden hidden", "secret: is no secret of a webhook"},
		"no file":          {url + "secret_file: /nonesuch/file", "secret_file: cannot be read: open /nonesuch/file"},
		"a namespace":      {url + "namespaces: [Alice], secret: " + random, `namespaces: "Alice" is no namespace`},
		"a repository":     {url + "repositories: [a:v1], secret: " + random, `repositories: "a:v1" is no repository`},
		"a type":           {url + "types: [pushed], secret: " + random, `types: "pushed" is none of push, tag, untag, delete, change`},
		"white space":      {url + "types: [a b], secret: " + random, `types: "a b" is not names`},
		"a slip":           {url + "secretfile: x", "events.webhooks.x.secretfile: unknown key; did you mean events.webhooks.x.secret_file?"},
		"no mapping":       {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			text := "events: {webhooks: {x: {" + test.text + "}}}"
			if test.want == "" {
				text, test.want = "events: {webhooks: [{url: x}]}", "events.webhooks: is a list, not a mapping of keys"
			}
			c, err := Load(write(t, text), nil)
			if err == nil {
				err = c.Validate()
			}
			if err == nil || !strings.Contains(err.Error(), strings.TrimPrefix(test.want, "berth.yaml: ")) || strings.Contains(err.Error(), "hidden") || strings.Contains(err.Error(), random) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	for _, name := range []string{"A", "a_b", "-", "a-", strings.Repeat("a", 41), "ä"} {
		if _, err := Load(write(t, "events: {webhooks: {"+name+": {}}}"), nil); err == nil || !strings.Contains(err.Error(), "is no name of a webhook") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Load("", []string{"BERTH_EVENTS_WEBHOOKS_URL=x"}); err == nil {
		t.Error("a variable without a name is taken")
	}
	c := load(t, "events: {timeout: 0s}")
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "events.timeout: 0s is not between 1s and 1m") {
		t.Errorf("no time: %v", err)
	}
}
