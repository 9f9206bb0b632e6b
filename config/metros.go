package config

import (
	"errors"
	"regexp"
	"strings"
)

// Metro is a place of the platform.
type Metro struct {
	Name string
	// Country is its code in two letters, or empty.
	Country string
	// URL is scheme and host of its API.
	URL string
}

// Metros are places of the platform. In the environment they are separated by
// commas; in the file they are a list, or text like that. Each is written as
// name=URL, or name/country=URL.
type Metros []Metro

// String separates them by commas.
func (m Metros) String() string {
	all := make([]string, len(m))
	for i, metro := range m {
		all[i] = metro.Name
		if metro.Country != "" {
			all[i] += "/" + metro.Country
		}
		all[i] += "=" + metro.URL
	}
	return strings.Join(all, ",")
}

var (
	metroName   = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	countryCode = regexp.MustCompile(`^[A-Za-z]{2}$`)
)

func parseMetros(text string) (Metros, error) {
	var all Metros
	for one := range strings.SplitSeq(text, ",") {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		name, url, ok := strings.Cut(one, "=")
		name, country, placed := strings.Cut(name, "/")
		if !ok || !metroName.MatchString(name) || placed && !countryCode.MatchString(country) {
			return nil, errors.New("not a metro")
		}
		all = append(all, Metro{Name: name, Country: country, URL: url})
	}
	return all, nil
}

// checkMetros reports metros whose API nobody would find.
func (c *Config) checkMetros(p *problems) {
	seen := map[string]bool{}
	for _, m := range c.HTTP.Metros {
		if wrong := checkPublicURL(m.URL); wrong != "" {
			c.problem(p, "http.metros", "the URL of %s %s; it is scheme and host of the metro's API, like %s=https://api.%s.example.com", m.Name, wrong, m.Name, m.Name)
		}
		if seen[m.Name] {
			c.problem(p, "http.metros", "%s is there twice; give each metro a name of its own", m.Name)
		}
		seen[m.Name] = true
	}
}

// checkIndexHost reports the host of an index that no image could be named by.
func (c *Config) checkIndexHost(p *problems) {
	if host := c.HTTP.IndexHost; host != "" && checkPublicURL("https://"+host) != "" || strings.Contains(host, "/") {
		c.problem(p, "http.index_host", "%q is not the name of a host; it is what stands in front of an image's name, like index.fra.example.com", host)
	}
}
