package config

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"go.yaml.in/yaml/v3"

	"github.com/berth-oci/berth/config/node"
)

// drivers are the storage drivers that are compiled in, by every name they
// have in distribution, with the one that is used here.
var drivers = map[string]string{
	"filesystem": "filesystem",
	"inmemory":   "inmemory",
	"s3":         "s3",
	"s3aws":      "s3",
}

const driverNames = "filesystem, inmemory and s3 (also called s3aws)"

// driver sets the driver that the file names.
func (f *file) driver(where, name string) {
	driver := drivers[name]
	if driver == "" {
		f.problems.add(where, "storage: unknown driver %q; berth has %s", shorten(name), driverNames)
		return
	}
	f.c.Storage.Driver = driver
	f.c.sources["storage."+driver] = source{where: where}
}

// oneDriver refuses a section with several drivers, given the lines of its keys.
func (f *file) oneDriver(lines map[string]int) {
	var found []string
	at := 0
	for name, line := range lines {
		if drivers[name] != "" {
			found = append(found, name)
			at = max(at, line)
		}
	}
	if len(found) > 1 {
		slices.Sort(found)
		f.problems.add(f.where(at), "storage: names several drivers (%s); there can be only one", strings.Join(found, ", "))
	}
}

// parameters reads those of a driver, with the types that YAML gives them.
func (f *file) parameters(where, path string, n *yaml.Node) {
	if node.IsNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		f.problems.add(where, "%s: is %s, not a mapping of the driver's parameters", path, describe(n))
		return
	}
	// The decoder bounds what aliases may expand to.
	parameters := map[string]any{}
	if err := n.Decode(&parameters); err != nil {
		messages := []string{err.Error()}
		if t, ok := err.(*yaml.TypeError); ok {
			messages = t.Errors
		}
		for _, m := range messages {
			f.library(where, path+": ", m)
		}
		return
	}
	f.c.Storage.Parameters = parameters
	driver := drivers[strings.TrimPrefix(path, "storage.")]
	for i := 0; i < len(n.Content); i += 2 {
		key := follow(n.Content[i])
		f.c.sources["storage."+driver+"."+key.Value] = source{where: f.where(key.Line)}
	}
}

// resolve fills in what depends on other keys.
func (c *Config) resolve() {
	s := &c.Storage
	if s.Driver == "" {
		s.Driver = "filesystem"
	}
	if s.Parameters == nil {
		s.Parameters = map[string]any{}
	}
	if s.Driver == "filesystem" && s.Parameters["rootdirectory"] == nil {
		s.Parameters = maps.Clone(s.Parameters)
		s.Parameters["rootdirectory"] = filepath.Join(c.Data, "storage")
	}
	if s.Redirect.Disable == nil {
		disable := s.Driver != "s3"
		s.Redirect.Disable = &disable
	}
	if c.Scrub.Enabled == nil {
		enabled := s.Driver == "filesystem"
		c.Scrub.Enabled = &enabled
	}
	if c.Catalog.Path == "" {
		c.Catalog.Path = filepath.Join(c.Data, "catalog.db")
	}
	if c.Accounts.File == "" {
		c.Accounts.File = filepath.Join(c.Data, "accounts.yaml")
	}
}

// checkStorage refuses what would break berth, and says why.
func (c *Config) checkStorage(p *problems) {
	s, purge := &c.Storage, &c.Storage.Maintenance.UploadPurging
	if drivers[s.Driver] != s.Driver {
		c.problem(p, "storage."+s.Driver, "unknown driver; berth has %s", driverNames)
	}
	if root, ok := s.Parameters["rootdirectory"]; ok && s.Driver == "filesystem" && fmt.Sprint(root) == "" {
		c.problem(p, "storage.filesystem.rootdirectory", "is empty, which would be the root of the file system; name a folder or leave it out")
	}
	for _, name := range slices.Sorted(maps.Keys(s.Parameters)) {
		if secretParameter(name) && s.Parameters[name] == mask {
			c.problem(p, "storage."+s.Driver+"."+name, maskedSecret)
		}
	}
	if !s.Delete.Enabled {
		c.problem(p, "storage.delete.enabled", "cannot be false: images are deleted through the API, and the index relies on it; to refuse every change set storage.maintenance.readonly.enabled")
	}
	if s.Redirect.Disable != nil && !*s.Redirect.Disable && s.Driver != "s3" {
		c.problem(p, "storage.redirect.disable", "cannot be false with the driver %s; it has no address to send clients to", s.Driver)
	}
	if s.Cache.BlobDescriptor != "" {
		c.problem(p, "storage.cache.blobdescriptor", "cannot be %q: %s, and a push or delete must show at once; leave it out", s.Cache.BlobDescriptor, noCache)
	}
	if purge.Age < time.Hour {
		c.problem(p, "storage.maintenance.uploadpurging.age", "%s is too short: uploads that are still running would be removed; at least 1h", formatDuration(purge.Age))
	}
	if purge.Interval < time.Minute {
		c.problem(p, "storage.maintenance.uploadpurging.interval", "%s is too short: looking through all uploads takes a while; at least 1m", formatDuration(purge.Interval))
	}
	if s.Tag.ConcurrencyLimit < 0 {
		c.problem(p, "storage.tag.concurrencylimit", "cannot be negative; 0 means as many as there are processors")
	}
}

// DistributionStorage is the storage section in the form that distribution's
// handlers.NewApp takes, complete: with the defaults, and with what berth
// decides. Every call makes a new one, since NewApp writes into it. The error
// is what [Config.Validate] says of the storage section; NewApp would panic.
func (c *Config) DistributionStorage() (configuration.Storage, error) {
	resolved := *c
	resolved.resolve()
	var p problems
	resolved.checkStorage(&p)
	if err := p.join(); err != nil {
		return nil, err
	}
	s := &resolved.Storage
	parameters := configuration.Parameters{}
	maps.Copy(parameters, s.Parameters)
	return configuration.Storage{
		s.Driver:   parameters,
		"delete":   {"enabled": true},
		"redirect": {"disable": *s.Redirect.Disable},
		"tag":      {"concurrencylimit": s.Tag.ConcurrencyLimit},
		// NewApp panics on map[string]any, and on durations that are no text.
		"maintenance": {
			"uploadpurging": map[any]any{
				"enabled":  s.Maintenance.UploadPurging.Enabled,
				"age":      s.Maintenance.UploadPurging.Age.String(),
				"interval": s.Maintenance.UploadPurging.Interval.String(),
				"dryrun":   s.Maintenance.UploadPurging.DryRun,
			},
			"readonly": map[any]any{"enabled": s.Maintenance.ReadOnly.Enabled},
		},
	}, nil
}

// ReadOnly tells whether every change is to be refused.
func (c *Config) ReadOnly() bool { return c.Storage.Maintenance.ReadOnly.Enabled }
