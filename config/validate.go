package config

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Validate fills in what depends on other keys (the folders below Data) and
// reports everything that is wrong, one problem a line: where it was set if
// that is known, the key, and what would be right. Call it after the flags.
func (c *Config) Validate() error {
	c.resolve()
	var p problems
	c.checkData(&p)
	c.checkHTTP(&p)
	c.checkAccounts(&p)
	c.checkTLS(&p)
	c.checkStorage(&p)
	c.checkScrub(&p)
	c.checkCollect(&p)
	c.checkEvents(&p)
	c.checkRules(&p)
	c.checkRest(&p)
	return p.join()
}

// problem adds one about a key. The line or variable is named unless a flag
// has set another value since.
func (c *Config) problem(p *problems, path, text string, args ...any) {
	from := c.sources[path]
	if s, ok := c.table()[path]; ok && format(s.field) != from.value {
		from.where = ""
	}
	p.add(from.where, "%s: "+text, append([]any{path}, args...)...)
}

func (c *Config) checkData(p *problems) {
	if c.Data == "" {
		c.problem(p, "data", "is empty; name a folder")
	} else if info, err := os.Stat(c.Data); err == nil && !info.IsDir() {
		c.problem(p, "data", "%s is not a folder", c.Data)
	}
	if info, err := os.Stat(c.Catalog.Path); err == nil && info.IsDir() {
		c.problem(p, "catalog.path", "%s is a folder; name a file", c.Catalog.Path)
	}
	if info, err := os.Stat(c.Accounts.File); err == nil && info.IsDir() {
		c.problem(p, "accounts.file", "%s is a folder; name a file", c.Accounts.File)
	}
	if info, err := os.Stat(c.Log.File); err == nil && info.IsDir() {
		c.problem(p, "log.file", "%s is a folder; name a file", c.Log.File)
	}
	if info, err := os.Stat(c.Audit.File); err == nil && info.IsDir() {
		c.problem(p, "audit.file", "%s is a folder; name a file", c.Audit.File)
	}
}

func (c *Config) checkHTTP(p *problems) {
	h := &c.HTTP
	if !c.checkAddress(p, "http.listen", h.Listen) {
		// Whether it is loopback cannot be said.
	} else if !h.Open && !c.hasAccounts() && !Loopback(h.Listen) {
		c.problem(p, "http.listen", "%s can be reached from other machines, and without accounts everyone who reaches it may read and write; "+
			"add an account: berth account add NAME --admin, or listen on 127.0.0.1, or %s", h.Listen, allowOpen)
	}
	c.checkPublic(p)
	c.checkIndexHost(p)
	c.checkMetros(p)
	if h.Secret == mask {
		c.problem(p, "http.secret", maskedSecret)
	} else if h.Secret != "" {
		if weak := WeakSecret(h.Secret); weak != "" {
			c.problem(p, "http.secret", "%s", weak)
		}
	}
	if d := h.Timeouts.ReadHeader; d <= 0 {
		c.problem(p, "http.timeouts.read_header", "%s is no time; without a limit a silent client would hold its connection for ever", formatDuration(d))
	}
	if d := h.Timeouts.Idle; d <= 0 {
		c.problem(p, "http.timeouts.idle", "%s is no time; without a limit a silent client would hold its connection for ever", formatDuration(d))
	}
	if d := h.Timeouts.Stall; d < time.Second {
		c.problem(p, "http.timeouts.stall", "%s is less than 1s, which any client may be silent for", formatDuration(d))
	}
	if d := h.Timeouts.Request; d < time.Second {
		c.problem(p, "http.timeouts.request", "%s is less than 1s, which any request may take", formatDuration(d))
	}
	if n := h.Limits.MinimumRate; n < 1 || n > 1<<20 {
		c.problem(p, "http.limits.minimum_rate", "%s is not between 1 and 1MiB a second", n)
	}
	for _, limit := range []struct {
		path string
		n    int
	}{
		{"http.limits.connections", h.Limits.Connections}, {"http.limits.connections_per_client", h.Limits.ConnectionsPerClient},
		{"http.limits.requests", h.Limits.Requests}, {"http.limits.uploads", h.Limits.Uploads},
		{"http.limits.requests_per_account", h.Limits.RequestsPerAccount}, {"http.limits.uploads_per_account", h.Limits.UploadsPerAccount},
		{"http.limits.streams", h.Limits.Streams}, {"http.limits.streams_per_account", h.Limits.StreamsPerAccount},
	} {
		if limit.n < 0 {
			c.problem(p, limit.path, "%d is negative; 0 is what suits the system", limit.n)
		}
	}
	if d := h.Timeouts.Shutdown; d < 0 {
		c.problem(p, "http.timeouts.shutdown", "%s is negative; 0s stops at once", formatDuration(d))
	}
	if n := h.Limits.HeaderBytes; n < 4<<10 || n > 16<<20 {
		c.problem(p, "http.limits.header_bytes", "%s is not between 4KiB and 16MiB", n)
	}
}

// allowOpen says which setting lets a registry without accounts be reached.
var allowOpen = "allow it: http.open, in the file as \"http: {open: true}\", in the environment as " + envName("http.open") + "=true"

// checkPublic reports a public URL that is none, or that lets others in through
// a proxy: they reach a listener on loopback then, and there are no accounts.
func (c *Config) checkPublic(p *problems) {
	h := &c.HTTP
	if h.PublicURL == "" {
		return
	}
	if wrong := checkPublicURL(h.PublicURL); wrong != "" {
		c.problem(p, "http.public_url", "%s; it is scheme and host, like https://registry.example.com", wrong)
		return
	}
	u, err := url.Parse(h.PublicURL)
	if err == nil && !h.Open && !c.hasAccounts() && Loopback(h.Listen) && !Loopback(net.JoinHostPort(u.Hostname(), "0")) {
		c.problem(p, "http.public_url", "%s is how other machines reach berth, and without accounts everyone who does may read and write; "+
			"add an account: berth account add NAME --admin, or %s", h.PublicURL, allowOpen)
	}
}

// checkAccounts reports an accounts file that was asked for and is not there:
// the registry would be open.
func (c *Config) checkAccounts(p *problems) {
	_, asked := c.sources["accounts.file"]
	if !asked || c.HTTP.Open {
		return
	}
	if _, err := os.Stat(c.Accounts.File); errors.Is(err, fs.ErrNotExist) {
		c.problem(p, "accounts.file", "there is no %s, and without accounts everyone who reaches berth may read and write; "+
			"put it back, or begin with an account: berth account add NAME --admin, or %s", c.Accounts.File, allowOpen)
	}
}

// hasAccounts reports whether the registry is closed. What the file says is not
// read here: one that is wrong keeps berth from starting.
func (c *Config) hasAccounts() bool {
	info, err := os.Stat(c.Accounts.File)
	return err == nil && !info.IsDir()
}

func (c *Config) checkTLS(p *problems) {
	t := &c.HTTP.TLS
	switch {
	case t.Certificate == "" && t.Key == "":
		return
	case t.Certificate == "":
		c.problem(p, "http.tls.certificate", "is missing, while http.tls.key is set; give both or neither")
		return
	case t.Key == "":
		c.problem(p, "http.tls.key", "is missing, while http.tls.certificate is set; give both or neither")
		return
	}
	certificate, certificateErr := os.ReadFile(t.Certificate)
	if certificateErr != nil {
		c.problem(p, "http.tls.certificate", "cannot be read: %w", certificateErr)
	}
	key, keyErr := os.ReadFile(t.Key)
	if keyErr != nil {
		c.problem(p, "http.tls.key", "cannot be read: %w", keyErr)
	}
	if certificateErr != nil || keyErr != nil {
		return
	}
	if _, err := tls.X509KeyPair(certificate, key); err != nil {
		c.problem(p, "http.tls.certificate", "%s and the key %s are not a pair of PEM files that can be used: %w", t.Certificate, t.Key, err)
	}
}

func (c *Config) checkRest(p *problems) {
	levels, formats := []string{"debug", "info", "warn", "error"}, []string{"text", "json"}
	if !slices.Contains(levels, c.Log.Level) {
		c.problem(p, "log.level", "%q is none of %s", c.Log.Level, strings.Join(levels, ", "))
	}
	if !slices.Contains(formats, c.Log.Format) {
		c.problem(p, "log.format", "%q is none of %s", c.Log.Format, strings.Join(formats, ", "))
	}
	if n := c.Limits.Memory; n < 64<<20 {
		c.problem(p, "limits.memory", "%s is less than 64MiB", n)
	}
	if n := c.Limits.OpenUploads; n < 0 {
		c.problem(p, "limits.open_uploads", "%d is less than 0", n)
	}
	if n := c.Limits.MemoryPerAccount; n != 0 && n < 8<<20 {
		c.problem(p, "limits.memory_per_account", "%s is less than 8MiB, and a manifest may have 4MiB", n)
	}
	if m := c.Metrics.Listen; m != "" && c.checkAddress(p, "metrics.listen", m) && m == c.HTTP.Listen && !strings.HasSuffix(m, ":0") {
		c.problem(p, "metrics.listen", "%s is already http.listen; leave it empty or choose another port", m)
	}
	c.checkDebug(p)
}

func (c *Config) checkDebug(p *problems) {
	d := c.Debug.Listen
	switch {
	case d == "" || !c.checkAddress(p, "debug.listen", d):
	case !Loopback(d):
		c.problem(p, "debug.listen", "%s can be reached from other machines, and profiles show what berth does and holds; "+
			"listen on 127.0.0.1, and reach it from elsewhere through a tunnel, as ssh -L makes one", d)
	case strings.HasSuffix(d, ":0"):
	case d == c.HTTP.Listen:
		c.problem(p, "debug.listen", "%s is already http.listen; leave it empty or choose another port", d)
	case d == c.Metrics.Listen:
		c.problem(p, "debug.listen", "%s is already metrics.listen; leave it empty or choose another port", d)
	}
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

// checkAddress reports an address that is not host and numeric port.
func (c *Config) checkAddress(p *problems, path, address string) bool {
	host, port, err := net.SplitHostPort(address)
	if strings.HasPrefix(address, "unix:") || strings.HasPrefix(address, "/") {
		c.problem(p, path, "%q: unix sockets are not supported; give a host and a port, like 127.0.0.1:5000", address)
		return false
	}
	_, ipErr := netip.ParseAddr(host)
	if err != nil || host != "" && ipErr != nil && !hostName.MatchString(host) {
		c.problem(p, path, "%q is not a host and a port, like 127.0.0.1:5000 or [::1]:5000", address)
		return false
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		c.problem(p, path, "%q needs a port from 0 to 65535 after the host", address)
		return false
	}
	return true
}

// Loopback tells whether only this machine reaches the address. No name but
// localhost is looked up: what it stands for could change.
func Loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.Unmap().IsLoopback()
}

// checkPublicURL says what is wrong with it, without repeating it: it may hold
// a password.
func checkPublicURL(text string) string {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "is not a URL"
	case u.Scheme != "http" && u.Scheme != "https":
		return "does not begin with http:// or https://"
	case u.User != nil:
		return "holds a user or password"
	case u.Hostname() == "" || strings.HasSuffix(u.Host, ":"):
		return "has no host, or an empty port"
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(text, "#"):
		return "has a query or a fragment"
	case u.Path != "" && (u.Path == "/" || path.Clean(u.Path) != u.Path || u.EscapedPath() != u.Path):
		return "has a path that is not like /registry, without a slash at its end"
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return "has a port that is not between 1 and 65535"
		}
	}
	return ""
}
