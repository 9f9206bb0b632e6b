package config

import (
	"slices"
	"strings"
)

// Key documents one key.
type Key struct {
	// Path is where the key stands in the file: http.tls.key.
	Path string
	// Env is the variable that sets it.
	Env string
	// Type is what a value may be, in words.
	Type string
	// Default is the value when nothing sets it; empty for none.
	Default string
	Doc     string
}

// Keys documents every key, in the order in which [Config.Write] prints them.
func Keys() []Key {
	c := defaults()
	c.Events.Webhooks = map[string]*Webhook{"<name>": {}} // stands for all
	var keys []Key
	listed := false // the driver's keys
	for _, s := range c.settings() {
		if strings.HasPrefix(s.path, "storage.") && !listed {
			listed = true
			keys = append(keys, driverKeys...)
		}
		k := Key{Path: s.path, Env: envName(s.path), Type: kind(s.field), Default: s.byDefault, Doc: s.doc}
		if k.Default == "" {
			k.Default = format(s.field)
		}
		keys = append(keys, k)
	}
	return keys
}

// driverKeys stand for what no table can list: the parameters of the drivers.
var driverKeys = []Key{
	{"storage", EnvPrefix + "STORAGE", "text", "filesystem",
		"The driver: filesystem, inmemory or s3 (also called s3aws). In the file the driver may be a key of its own, with its parameters below it."},
	{"storage.filesystem.rootdirectory", EnvPrefix + "STORAGE_FILESYSTEM_ROOTDIRECTORY", "text", "<data>/storage",
		"Folder of the filesystem driver. Its other parameters are in distribution's documentation."},
	{"storage.s3.*", EnvPrefix + "STORAGE_S3_*", "as distribution says", "",
		"Parameters of the S3 driver (bucket, region, regionendpoint, accesskey, secretkey, …), as in distribution's documentation. In a variable true, false and numbers have their type as in YAML, and quotes make text."},
}

// setting is a row of the table: a key and the field that holds it.
type setting struct {
	path string
	// field points into the configuration: see parse for the types.
	field any
	doc   string
	// byDefault describes a default that depends on another key.
	byDefault string
	secret    bool
}

// settings is the table of all keys but the driver's, bound to c.
func (c *Config) settings() []setting {
	data := []setting{{path: "data", field: &c.Data, doc: "Folder for everything that berth keeps."}}
	return slices.Concat(data, c.HTTP.settings(), c.Storage.settings(), c.otherSettings(), c.Scrub.settings(), c.Collect.settings(),
		c.Events.settings(), c.Rules.settings())
}

func (h *HTTP) settings() []setting {
	return []setting{
		{path: "http.listen", field: &h.Listen,
			doc: "Address to listen on: host and numeric port. No host means every interface, port 0 any free port."},
		{path: "http.public_url", field: &h.PublicURL,
			doc: "Scheme, host and port under which clients reach berth, if it is behind a proxy; and a path, if the proxy takes one off. Empty: answers hold relative addresses."},
		{path: "http.open", field: &h.Open,
			doc: "Without accounts, let everyone read and write who reaches berth: on a listen address that is not loopback, at a public URL that is not, or although the accounts file is missing."},
		{path: "http.hosts", field: &h.Hosts,
			doc: "Without accounts, names by which clients reach berth, beside IP addresses, localhost, and the hosts of `http.listen` and `http.public_url`: it answers to no other, since any site could point a name of its own at it and have a browser ask."},
		{path: "http.index_host", field: &h.IndexHost,
			doc: "Host of a metro's own index, like index.fra.example.com: the `unikraft` command finds it beside the API at api.fra.example.com. It stands in the url of images, with their long name behind it, and images are found by it."},
		{path: "http.metros", field: &h.Metros,
			doc: "What `GET /v1/metros` tells clients: each metro's name, its country if there is one, and its API, like fra/de=https://api.fra.example.com. Empty: the one that berth is."},
		{path: "http.secret", field: &h.Secret, secret: true, byDefault: "generated, kept in the data folder",
			doc: "What the keys for tokens and for the state of unfinished uploads are derived from: 32 random bytes, as `openssl rand -hex 32` makes them. Give it when the data folder does not outlive the process, or when several share the storage."},
		{path: "http.trusted_proxies", field: &h.TrustedProxies,
			doc: "Addresses and networks of proxies in front. Only from these are X-Forwarded-For, -Proto and -Host believed."},
		{path: "http.tls.certificate", field: &h.TLS.Certificate,
			doc: "PEM file with the certificate and its chain. Empty: plain HTTP."},
		{path: "http.tls.key", field: &h.TLS.Key,
			doc: "PEM file with the certificate's private key."},
		{path: "http.timeouts.read_header", field: &h.Timeouts.ReadHeader,
			doc: "How long a client may take to send the headers of a request."},
		{path: "http.timeouts.idle", field: &h.Timeouts.Idle,
			doc: "How long a connection may stay open between two requests."},
		{path: "http.timeouts.stall", field: &h.Timeouts.Stall,
			doc: "How long a client may send or take nothing in the middle of a request, or less than http.limits.minimum_rate."},
		{path: "http.timeouts.request", field: &h.Timeouts.Request,
			doc: "How long a client may take to send the body of a request, and to take its answer, except uploads, blobs and lists."},
		{path: "http.timeouts.shutdown", field: &h.Timeouts.Shutdown,
			doc: "How long requests in flight may take to finish when berth stops."},
		{path: "http.limits.header_bytes", field: &h.Limits.HeaderBytes,
			doc: "How long the headers of a request may be, from 4KiB to 16MiB."},
		{path: "http.limits.minimum_rate", field: &h.Limits.MinimumRate,
			doc: "Bytes a second that a client must send or take, on average over http.timeouts.stall."},
		{path: "http.limits.connections", field: &h.Limits.Connections,
			doc: "Most connections at a time; 0 means three fifths of the files that the system lets berth open, and at most one for each 128 KiB of limits.memory and 10000."},
		{path: "http.limits.connections_per_client", field: &h.Limits.ConnectionsPerClient,
			doc: "Most connections at a time of one address (of IPv6, one /64) that is no trusted proxy; 0 means a quarter of all."},
		{path: "http.limits.requests", field: &h.Limits.Requests,
			doc: "Most requests at a time; 0 means an eighth of the files that the system lets berth open, and at most 1000."},
		{path: "http.limits.uploads", field: &h.Limits.Uploads,
			doc: "Most uploads at a time; 0 means half of http.limits.requests."},
		{path: "http.limits.requests_per_account", field: &h.Limits.RequestsPerAccount,
			doc: "Most requests at a time of one account; 0 means a quarter of http.limits.requests. All without an account have as many together. A few more wait a moment, and what finds no place gets 429."},
		{path: "http.limits.uploads_per_account", field: &h.Limits.UploadsPerAccount,
			doc: "Most uploads at a time of one account; 0 means a quarter of http.limits.uploads. What finds no place gets 429."},
		{path: "http.limits.streams", field: &h.Limits.Streams,
			doc: "Most requests for changes at a time, which last as long as their clients want, and count as no other requests; 0 means half of http.limits.connections. What finds no place gets 429."},
		{path: "http.limits.streams_per_account", field: &h.Limits.StreamsPerAccount,
			doc: "Most of these of one account; 0 means a quarter of http.limits.streams. All without an account have as many together, where there are accounts."},
	}
}

func (s *Storage) settings() []setting {
	purge := &s.Maintenance.UploadPurging
	return []setting{
		{path: "storage.free_floor", field: &s.FreeFloor,
			doc: "Bytes that uploads leave free on the disk of local files, at most a tenth of it: what would leave less is refused with 507. 0: none."},
		{path: "storage.delete.enabled", field: &s.Delete.Enabled,
			doc: "Always true: images are deleted through the API, and the index relies on it."},
		{path: "storage.redirect.disable", field: &s.Redirect.Disable, byDefault: "false for s3, else true",
			doc: "Serve blobs through berth instead of sending clients to S3. Always true for filesystem and inmemory, which have nowhere to send them."},
		{path: "storage.cache.blobdescriptor", field: &s.Cache.BlobDescriptor,
			doc: "Always empty: " + noCache + "."},
		{path: "storage.maintenance.uploadpurging.enabled", field: &purge.Enabled,
			doc: "Remove uploads that nobody finished."},
		{path: "storage.maintenance.uploadpurging.age", field: &purge.Age,
			doc: "How old an unfinished upload must be to be removed, at least 1h."},
		{path: "storage.maintenance.uploadpurging.interval", field: &purge.Interval,
			doc: "Time between two removals, at least 1m."},
		{path: "storage.maintenance.uploadpurging.dryrun", field: &purge.DryRun,
			doc: "Only log what would be removed."},
		{path: "storage.maintenance.readonly.enabled", field: &s.Maintenance.ReadOnly.Enabled,
			doc: "Refuse every change."},
		{path: "storage.tag.concurrencylimit", field: &s.Tag.ConcurrencyLimit,
			doc: "How many tags of a repository are read from storage at once; 0 means as many as there are processors."},
	}
}

func (c *Config) otherSettings() []setting {
	return []setting{
		{path: "registry.missing_layers", field: &c.Registry.MissingLayers,
			doc: "Take manifests although their config or layers are not stored. Such an image cannot be pulled whole."},

		{path: "catalog.path", field: &c.Catalog.Path, byDefault: "<data>/catalog.db",
			doc: "File of the index. It is built again from storage if it is missing."},
		{path: "accounts.file", field: &c.Accounts.File, byDefault: "<data>/accounts.yaml",
			doc: "File of the accounts, changed with berth account or by hand while berth runs. Without it the registry is open."},
		{path: "accounts.anonymous_official", field: &c.Accounts.AnonymousOfficial,
			doc: "Let everyone pull the official images, without an account."},
		{path: "accounts.default_quotas", field: &c.Accounts.DefaultQuotas,
			doc: "Quotas that `berth account add` gives to new accounts by their names, unless --quota says otherwise: `ci-*=1GiB`, of several the first that fits. `none` is no limit."},
		{path: "limits.memory", field: &c.Limits.Memory,
			doc: "How much memory berth is to take, at least 64MiB: the Go runtime's limit, unless GOMEMLIMIT is set. A part of it is for the bodies of requests and for answers; what does not fit is refused with 503."},
		{path: "limits.memory_per_account", field: &c.Limits.MemoryPerAccount,
			doc: "How much of that part one account may have, at least 8MiB; 0 means a quarter. What does not fit is refused with 429."},
		{path: "limits.open_uploads", field: &c.Limits.OpenUploads,
			doc: "How many uploads a namespace may have that are not finished; one more is refused with 429. 0 means any number."},
		{path: "limits.uncollected", field: &c.Limits.Uncollected,
			doc: "How much may be stored for a namespace with a quota that nothing refers to any more, such as what it deleted, until it is collected. Beyond it pushes are refused with 429; pulling and deleting go on. 0 means any amount."},
		{path: "audit.file", field: &c.Audit.File,
			doc: "File to append who did what to, in lines of JSON. Empty: none."},
		{path: "log.file", field: &c.Log.File,
			doc: "File to append the log to, opened again on SIGHUP. Empty: standard error."},
		{path: "log.level", field: &c.Log.Level,
			doc: "Least severe messages to log: debug, info, warn or error."},
		{path: "log.format", field: &c.Log.Format,
			doc: "Form of the log: text or json."},
		{path: "log.access", field: &c.Log.Access,
			doc: "Log one line for every request."},

		{path: "metrics.enabled", field: &c.Metrics.Enabled,
			doc: "Serve metrics for Prometheus."},
		{path: "metrics.listen", field: &c.Metrics.Listen,
			doc: "Address for the metrics alone. Empty: /metrics on the main address, for loopback clients only."},
		{path: "debug.listen", field: &c.Debug.Listen,
			doc: "Loopback address for profiles (pprof) and all metrics of the Go runtime. Empty: none."},
	}
}

// table is the settings by path.
func (c *Config) table() map[string]setting {
	t := map[string]setting{}
	for _, s := range c.settings() {
		t[s.path] = s
	}
	return t
}

// sections are the paths above those of keys, of a table.
func sections(table map[string]setting) map[string]bool {
	found := map[string]bool{}
	for path := range table {
		for i := strings.LastIndexByte(path, '.'); i > 0; i = strings.LastIndexByte(path[:i], '.') {
			found[path[:i]] = true
		}
	}
	return found
}

const noCache = "a cache of descriptors would still know what has been deleted beside it"

// refused are keys that distribution knows and that make no sense here, with
// the reason.
var refused = map[string]string{
	"storage.cache.layerinfo":          noCache + "; leave it out",
	"storage.cache.blobdescriptorsize": noCache + "; leave it out",
}
