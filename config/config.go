// Package config is berth's one typed configuration.
//
// A value comes from, each over the one before: the defaults, a YAML file, the
// environment, and flags. [Load] reads the first three; the command that has
// the flags sets the fields of the [Config] and then calls [Config.Validate].
//
// Every key is one row of a table (see keys.go): its path in the file, its
// field, its documentation. The file reader, the environment, the printed form
// and the reference all follow from that table, so a new key is a field, a
// default and a row. The driver of the storage section is the exception: its
// parameters are distribution's and reach it as they are.
package config

import "time"

// Config holds every setting. The zero value is not useful: [Load] without a
// file and an environment gives the defaults.
type Config struct {
	// Data is the folder for everything that berth keeps.
	Data     string
	HTTP     HTTP
	Storage  Storage
	Registry Registry
	Catalog  Catalog
	Accounts Accounts
	Limits   Overall
	Audit    Audit
	Log      Log
	Metrics  Metrics
	Debug    Debug
	Scrub    Scrub
	Collect  Collect
	Events   Events
	Rules    Rules

	// sources says where a value was set, by key, so that a problem found
	// later can still name the line or the variable.
	sources map[string]source
}

// HTTP says where and how berth is reached.
type HTTP struct {
	// Listen is a host and a numeric port. No host means every interface,
	// port 0 any free port.
	Listen string
	// PublicURL is scheme, host, port and path under which clients reach berth,
	// or empty: then answers hold relative addresses.
	PublicURL string
	// Open lets Listen be an address that is not loopback, although everyone
	// who reaches it may read and write.
	Open bool
	// Hosts are names by which clients reach berth while it is open.
	Hosts Hosts
	// IndexHost is the host of the metro's index, or empty for none.
	IndexHost string
	// Metros are what clients are told of; empty means this one.
	Metros Metros
	// Secret is what keys are derived from: 32 random bytes, as text. Empty means
	// that one is to be generated and kept in the data folder.
	Secret string
	// TrustedProxies are the addresses from which forwarding headers are
	// believed.
	TrustedProxies Networks
	TLS            TLS
	Timeouts       Timeouts
	Limits         Limits
}

// TLS names the PEM files of the server's certificate: both, or neither.
type TLS struct {
	Certificate string
	Key         string
}

// Timeouts bound how long a client may keep a connection waiting.
type Timeouts struct {
	ReadHeader time.Duration
	Idle       time.Duration
	// Stall is how long a client may send or take nothing, or fall behind
	// Limits.MinimumRate. Request bounds the waiting for the client in a
	// request that is short.
	Stall   time.Duration
	Request time.Duration
	// Shutdown is how long requests in flight may take to finish; zero cuts
	// them off.
	Shutdown time.Duration
}

// Limits bound what clients may send, and how much of berth they may take up.
// Of the numbers, 0 stands for what suits the files that berth may open.
type Limits struct {
	HeaderBytes Size
	// MinimumRate is in bytes a second.
	MinimumRate          Size
	Connections          int
	ConnectionsPerClient int
	Requests             int
	Uploads              int
	RequestsPerAccount   int
	UploadsPerAccount    int
	Streams              int
	StreamsPerAccount    int
}

// Storage is distribution's storage section: a driver with its parameters, and
// the keys beside it. [Config.DistributionStorage] puts it together again.
type Storage struct {
	// Driver is one of filesystem, inmemory and s3. Empty means filesystem.
	Driver string
	// Parameters are the driver's own, with the types that YAML gave them.
	Parameters map[string]any
	// FreeFloor is how many bytes uploads leave free on a local disk.
	FreeFloor   Size
	Delete      Delete
	Redirect    Redirect
	Cache       Cache
	Maintenance Maintenance
	Tag         Tag
}

// Delete belongs to berth: images are deleted through the API.
type Delete struct {
	Enabled bool
}

// Redirect reports whether blobs are served by berth itself instead of sending
// clients to the storage. Nil means what suits the driver.
type Redirect struct {
	Disable *bool
}

// Cache belongs to berth: there is none.
type Cache struct {
	BlobDescriptor string
}

// Maintenance is what distribution does beside serving.
type Maintenance struct {
	UploadPurging UploadPurging
	ReadOnly      ReadOnly
}

// UploadPurging removes uploads that nobody finished.
type UploadPurging struct {
	Enabled  bool
	Age      time.Duration
	Interval time.Duration
	DryRun   bool
}

// ReadOnly refuses every change.
type ReadOnly struct {
	Enabled bool
}

// Tag bounds how many tags are read from storage at once; zero means as many
// as there are processors.
type Tag struct {
	ConcurrencyLimit int
}

// Catalog configures the index of images.
type Catalog struct {
	// Path is the file of the index. Empty until [Config.Validate] puts it
	// below Data.
	Path string
}

// Accounts says who may use the registry.
type Accounts struct {
	// File holds the accounts. Empty until [Config.Validate] puts it below
	// Data. Without that file the registry is open.
	File string
	// AnonymousOfficial lets everyone pull the official images.
	AnonymousOfficial bool
	// DefaultQuotas are for new accounts.
	DefaultQuotas Quotas
}

// Audit configures the record of who did what.
type Audit struct {
	// File gets a line of JSON for each. Empty means none.
	File string
}

// Overall bounds what berth takes for all clients together, or for a namespace.
type Overall struct {
	// Memory is also the Go runtime's limit, and what bodies and answers may take
	// is a share of it.
	Memory Size
	// MemoryPerAccount is the part of that share that one account may have; 0
	// means a quarter.
	MemoryPerAccount Size
	// OpenUploads is how many uploads a namespace may have that are not finished,
	// and Uncollected how much one with a quota may have that nothing refers to any
	// more, before nothing can be pushed to it. 0 stands for any.
	OpenUploads int
	Uncollected Size
}

// Log configures the log.
type Log struct {
	// File is appended to, and opened again on SIGHUP. Empty means standard
	// error.
	File string
	// Level is debug, info, warn or error.
	Level string
	// Format is text or json.
	Format string
	// Access asks for one line for every request.
	Access bool
}

// Metrics configures the Prometheus metrics.
type Metrics struct {
	Enabled bool
	// Listen is an address for metrics alone. Empty means /metrics on the
	// main address, for loopback clients only.
	Listen string
}

// Debug configures what developers look at.
type Debug struct {
	// Listen is a loopback address for profiles. Empty means none.
	Listen string
}

// defaults is the configuration when nothing is set. What depends on another
// key stays empty here and is filled in by resolve, after the flags.
func defaults() *Config {
	return &Config{
		Data: "./berth-data",
		HTTP: HTTP{
			Listen: "127.0.0.1:5000",
			Timeouts: Timeouts{
				ReadHeader: 10 * time.Second,
				Idle:       2 * time.Minute,
				Stall:      30 * time.Second,
				Request:    time.Minute,
				Shutdown:   30 * time.Second,
			},
			Limits: Limits{HeaderBytes: 64 << 10, MinimumRate: 4 << 10},
		},
		Storage: Storage{
			FreeFloor: 1 << 30,
			Delete:    Delete{Enabled: true},
			Maintenance: Maintenance{UploadPurging: UploadPurging{
				Enabled: true, Age: 168 * time.Hour, Interval: 24 * time.Hour,
			}},
		},
		Limits:  Overall{Memory: 256 << 20, OpenUploads: 1000, Uncollected: 10 << 30},
		Log:     Log{Level: "info", Format: "text", Access: true},
		Metrics: Metrics{Enabled: true},
		Collect: defaultCollect(),
		Scrub:   Scrub{Rate: 8 << 20, Operations: 20, Interval: 30 * 24 * time.Hour},
		Events:  Events{Keep: 1_000_000, Age: 30 * 24 * time.Hour, Timeout: 10 * time.Second},
		Rules:   Rules{Interval: 24 * time.Hour},
		sources: map[string]source{},
	}
}

// Registry configures what /v2 takes.
type Registry struct {
	// MissingLayers takes manifests whose layers are not stored.
	MissingLayers bool
}
