package images

import (
	_ "embed"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/uuid"
)

// Metro is a place of the platform: a name, and where its API is.
type Metro struct {
	Name string
	// Country is its code in two letters, "" if nobody has said.
	Country string
	// URL is scheme and host of the API, with no slash at its end.
	URL string
}

type metroEntry struct {
	UUID     string `json:"uuid"`
	Endpoint string `json:"endpoint"`
	Name     string `json:"name"`
	IATACode string `json:"iata_code"`
	Country  string `json:"country"`
}

// metros answers GET /v1/metros.
func (c *call) metros() error {
	metros := c.opts.Metros
	if len(metros) == 0 {
		base := c.base()
		metros = []Metro{{Name: metroName(base), URL: base}}
	}
	all := []metroEntry{}
	for _, m := range metros {
		e := metroEntry{Endpoint: m.URL, Name: m.Name, Country: m.Country}
		e.UUID = uuid.NewSHA1(uuid.NameSpaceURL, []byte(m.URL)).String()
		// Metros are named by the code of their airport.
		if len(m.Name) == 3 && strings.Trim(m.Name, "abcdefghijklmnopqrstuvwxyz") == "" {
			e.IATACode = strings.ToUpper(m.Name)
		}
		all = append(all, e)
	}
	writeData(c.w, c.r, "metros", all, c.start)
	return nil
}

// base is under what address the client reaches berth. Of the header that says
// that it was reached by TLS, only a trusted proxy's comes this far.
func (c *call) base() string {
	switch {
	case c.opts.PublicURL != "":
		return c.opts.PublicURL
	case c.r.TLS != nil || strings.EqualFold(c.r.Header.Get("X-Forwarded-Proto"), "https"):
		return "https://" + c.r.Host
	default:
		return "http://" + c.r.Host
	}
}

// metroName is fra for https://api.fra.example.com, and local where there is no
// name to take it from.
func metroName(base string) string {
	const unnamed = "local"
	u, err := url.Parse(base)
	if err != nil || net.ParseIP(u.Hostname()) != nil {
		return unnamed
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(u.Hostname(), "api."), ".")
	if name == "" || name == "localhost" {
		return unnamed
	}
	return name
}

// health answers GET /v1/healthz: whoever is answered has a berth that is alive.
func (c *call) health() error {
	writeData(c.w, c.r, "checks", map[string]string{"images": "healthy"}, c.start)
	return nil
}

// OpenAPI describes the API, and what else berth answers beside that of OCI, in
// YAML of OpenAPI 3.1.
//
//go:embed openapi.yaml
var OpenAPI []byte

// document answers GET /v1/openapi.yaml.
func (c *call) document() error {
	h := c.w.Header()
	h.Set("Content-Type", "application/yaml")
	h.Set("X-Content-Type-Options", "nosniff")
	c.w.WriteHeader(http.StatusOK)
	if c.r.Method != http.MethodHead {
		_, _ = c.w.Write(OpenAPI)
	}
	return nil
}
