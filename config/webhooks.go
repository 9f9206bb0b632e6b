package config

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/berth-oci/berth/config/network"
	"github.com/berth-oci/berth/storage/reference"
)

// Webhook is a receiver of changes.
type Webhook struct {
	// URL is where they are sent.
	URL string
	// Secret signs what is sent, as text: see [Webhook.Keys]. SecretFile is a file
	// with it. One of them is given.
	Secret     string
	SecretFile string
	// Namespaces, Repositories and Types limit what is sent; empty limits nothing.
	Namespaces   Names
	Repositories Names
	Types        Names
}

// Names are names without white space or commas. In the environment they are
// separated by commas; in the file they are a list, or text like that.
type Names []string

// String separates them by commas.
func (n Names) String() string { return strings.Join(n, ",") }

func parseNames(text string) (Names, error) {
	var all Names
	for one := range strings.SplitSeq(text, ",") {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		if strings.ContainsAny(one, " \t\r\n") {
			return nil, errors.New("not a name")
		}
		all = append(all, one)
	}
	return all, nil
}

// ChangeTypes are the types of changes that there are.
var ChangeTypes = []string{"push", "tag", "untag", "delete", "change"}

// webhooksPath is above the names of the webhooks.
const webhooksPath = "events.webhooks"

var (
	webhookName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	// webhookKeys are those below each name; of two that are the end of a variable
	// the longer one comes first.
	webhookKeys = []string{"secret_file", "secret", "url", "namespaces", "repositories", "types"}
)

const longestWebhookName = 40

// addWebhook makes a webhook known, so that its keys are in the table. It reports
// whether it has a name.
func (c *Config) addWebhook(name string) bool {
	if len(name) > longestWebhookName || !webhookName.MatchString(name) {
		return false
	}
	if c.Events.Webhooks == nil {
		c.Events.Webhooks = map[string]*Webhook{}
	}
	if c.Events.Webhooks[name] == nil {
		c.Events.Webhooks[name] = &Webhook{}
	}
	return true
}

// addWebhooksOf makes those known that a variable names: the name stands there in
// upper case, with _ for each -.
func (c *Config) addWebhooksOf(variables map[string]string) {
	for variable := range variables {
		rest, ok := strings.CutPrefix(variable, envName(webhooksPath)+"_")
		if !ok {
			continue
		}
		for _, key := range webhookKeys {
			if name, ok := strings.CutSuffix(rest, "_"+strings.ToUpper(key)); ok {
				c.addWebhook(strings.ToLower(strings.ReplaceAll(name, "_", "-")))
				break
			}
		}
	}
}

// webhook reads one of the file.
func (f *file) webhook(where, path, name string, n *yaml.Node) {
	if !f.c.addWebhook(name) {
		f.problems.add(where, "%s: %q is no name of a webhook; it wants lower-case letters and digits, with - between them, at most %d", path, name, longestWebhookName)
		return
	}
	f.table = f.c.table()
	f.section(path, n)
}

func (e *Events) webhookSettings() (all []setting) {
	for _, name := range slices.Sorted(maps.Keys(e.Webhooks)) {
		w, at := e.Webhooks[name], webhooksPath+"."+name+"."
		all = append(all,
			setting{path: at + "url", field: &w.URL,
				doc: "Where changes are sent: an address of https, or of http. `<name>` is a name of your own, by which berth remembers how far the receiver is."},
			setting{path: at + "secret", field: &w.Secret, secret: true,
				doc: "What signs them: the base64 of 32 random bytes, as `openssl rand -base64 32` makes it. Two, with a comma between them, while one replaces the other."},
			setting{path: at + "secret_file", field: &w.SecretFile,
				doc: "A file with the secret, instead. It is read when berth starts."},
			setting{path: at + "namespaces", field: &w.Namespaces,
				doc: "Send only changes in these: alice, alice/app and what lies below it, or official. Empty: in all."},
			setting{path: at + "repositories", field: &w.Repositories,
				doc: "Send only changes of these repositories, and of nothing below them. Empty: of all."},
			setting{path: at + "types", field: &w.Types,
				doc: "Send only changes of these types: push, tag, untag, delete, change. Empty: of all."},
		)
	}
	return all
}

// The lengths of a key of a webhook, in bytes, as Standard Webhooks have them.
const shortestKey, longestKey = 24, 64

// errKeys shows nothing of the secret.
var errKeys = errors.New(`is no secret of a webhook; it wants the base64 of 32 random bytes, as "openssl rand -base64 32" makes it`)

// Keys are the secrets, read from the file if there is one. As with Standard
// Webhooks, whsec_ may stand in front of each. The error shows nothing of them.
func (w *Webhook) Keys() (keys [][]byte, err error) {
	text := w.Secret
	if w.SecretFile != "" {
		if text, err = readSecretFile(w.SecretFile); err != nil {
			return nil, err
		}
	}
	for one := range strings.FieldsFuncSeq(text, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }) {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(one, "whsec_"))
		if err != nil || len(key) < shortestKey || len(key) > longestKey {
			return nil, errKeys
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errKeys
	}
	return keys, nil
}

func readSecretFile(path string) (string, error) {
	const most = 8 << 10
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("cannot be read: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return "", fmt.Errorf("cannot be read: %w", err)
	}
	if len(text) > most {
		return "", errKeys
	}
	return string(text), nil
}

func (c *Config) checkWebhooks(p *problems) {
	for _, name := range slices.Sorted(maps.Keys(c.Events.Webhooks)) {
		w, at := c.Events.Webhooks[name], webhooksPath+"."+name+"."
		if wrong := c.checkReceiver(w.URL); wrong != "" {
			c.problem(p, at+"url", "%s", wrong)
		}
		c.checkKeys(p, w, at)
		for _, namespace := range w.Namespaces {
			if !reference.IsName(namespace) {
				c.problem(p, at+"namespaces", "%.100q is no namespace or repository; it wants something like alice or alice/app, without a host or tag", namespace)
			}
		}
		for _, repository := range w.Repositories {
			if !reference.IsName(repository) {
				c.problem(p, at+"repositories", "%.100q is no repository; it wants something like alice/app, without a host or tag", repository)
			}
		}
		for _, one := range w.Types {
			if !slices.Contains(ChangeTypes, one) {
				c.problem(p, at+"types", "%.100q is none of %s", one, strings.Join(ChangeTypes, ", "))
			}
		}
	}
}

func (c *Config) checkKeys(p *problems, w *Webhook, at string) {
	switch {
	case w.Secret == "" && w.SecretFile == "":
		c.problem(p, at+"secret", "is missing: without a signature the receiver cannot know who sends; make one with \"openssl rand -base64 32\", or name a file with it: secret_file")
		return
	case w.Secret == mask:
		c.problem(p, at+"secret", maskedSecret)
		return
	case w.Secret != "" && w.SecretFile != "":
		c.problem(p, at+"secret_file", "is set beside secret; give one of them")
		return
	}
	key := at + "secret"
	if w.SecretFile != "" {
		key += "_file"
	}
	if _, err := w.Keys(); err != nil {
		c.problem(p, key, "%w", err)
	}
}

// checkReceiver says what is wrong with the address of a receiver, without
// repeating it: it may hold what lets one in. Names are not looked up here: what
// they stand for counts when something is sent.
func (c *Config) checkReceiver(text string) string {
	const want = "; it is something like https://receiver.example.com/berth"
	if text == "" {
		return "is missing" + want
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "is not a URL" + want
	case u.Scheme != "http" && u.Scheme != "https":
		return "does not begin with https:// or http://" + want
	case u.User != nil:
		return "holds a user or password, which are not sent; the receiver knows berth by the signature"
	case u.Hostname() == "" || strings.HasSuffix(u.Host, ":"):
		return "has no host, or an empty port" + want
	case strings.Contains(text, "#"):
		return "has a fragment, which is not sent"
	}
	if port := u.Port(); port != "" && !isPort(port) {
		return "has a port that is not between 1 and 65535"
	}
	if c.insideRefused(u.Hostname()) {
		return "leads inside the network; events.internal_networks allows addresses there, for all webhooks, like [127.0.0.1] or [10.0.0.0/8]"
	}
	return ""
}

func isPort(text string) bool {
	n, err := net.LookupPort("tcp", text)
	return err == nil && n > 0 && strings.Trim(text, "0123456789") == ""
}

// insideRefused reports whether a host is known to be one to which nothing may be
// sent.
func (c *Config) insideRefused(host string) bool {
	var addresses []netip.Addr
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") || strings.HasSuffix(strings.ToLower(host), ".localhost") {
		addresses = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}
	} else if address, err := netip.ParseAddr(host); err == nil {
		addresses = []netip.Addr{address}
	} else {
		return false
	}
	return !slices.ContainsFunc(addresses, func(a netip.Addr) bool { return !network.Refused(a, c.Events.InternalNetworks) })
}
