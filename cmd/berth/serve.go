package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/berth-oci/berth/catalog/images"
	"github.com/berth-oci/berth/cmd/berth/server"
	"github.com/berth-oci/berth/config"
	"github.com/berth-oci/berth/registry"
	"github.com/berth-oci/berth/registry/access"
)

func newServe() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Start the registry",
		Long: `Start the registry, by default on 127.0.0.1:5000 with its data in ./berth-data.

A setting comes from the defaults, the configuration file, the environment
(BERTH_ and the key: BERTH_HTTP_LISTEN) and the flags, each over the one before.
"berth config check" prints what comes of them.

Ctrl-C or SIGTERM stops in an orderly way: requests in flight may finish. A
second one stops at once. SIGHUP opens the log and the audit log again, and reads
accounts and certificate again.`,
		Example: `  berth serve
  berth serve --listen 127.0.0.1:5001 --data /var/lib/berth
  BERTH_STORAGE=inmemory berth serve`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := s.load()
			if err != nil {
				return err
			}
			return serve(cmd.Context(), c, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	s.flags(cmd)
	return cmd
}

// serve runs until ctx ends.
func serve(ctx context.Context, c *config.Config, stdout, stderr io.Writer) (err error) {
	reload := listenForReload()
	out, closeLog, err := reload.openLog(c.Log, stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeLog()) }()
	log := newLog(c.Log, out)
	registry.LogTo(log)
	metrics := server.NewMetrics()
	server.Build(metrics, version())

	b, err := open(ctx, c, metrics, log, stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()

	reload.steps = append(reload.steps, b.audit.Reopen, b.accounts.Reload)
	s, err := newServer(ctx, c, b, metrics, log, reload)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", c.HTTP.Listen)
	if err != nil {
		return fmt.Errorf("cannot listen on %s: %w; --listen chooses another address", c.HTTP.Listen, err)
	}
	rules := newRulesWork(b, c, metrics, log)
	b.listenControl(c, rules, log)
	b.startScrub(c, metrics, log)
	b.startCollect(c, metrics)
	if err := b.startWebhooks(c, l.Addr().String(), metrics, log); err != nil {
		return err
	}
	rules.start(c.Rules.Interval)
	go reload.run(ctx, log)
	greet(ctx, stdout, c, b, l.Addr().String())
	return s.Serve(ctx, l)
}

func newServer(ctx context.Context, c *config.Config, b *berth, metrics *prometheus.Registry, log *slog.Logger, reload *reloader) (*server.Server, error) {
	o := server.Options{
		Gate:     func(h http.Handler) http.Handler { return b.gate.Wrap(ownMemory(h)) },
		Registry: b.registry,
		Token:    b.gate.TokenHandler(),
		Harbor:   b.registry.Harbor(),
		Images:   newImages(ctx, c, b, metrics, log),
		Shed:     b.shed,
		Within:   access.Hold,
		Account:  func(r *http.Request) string { return access.Held(r.Context()) },
		Browsers: browsersOf(c, b.accounts.Open),
		Ready:    b.ready,
		Writable: func() (string, error) {
			err := b.home.there()
			return access.RetryAfter(err), err
		},
		ReadHeader:  c.HTTP.Timeouts.ReadHeader,
		Idle:        c.HTTP.Timeouts.Idle,
		Shutdown:    c.HTTP.Timeouts.Shutdown,
		HeaderBytes: int(c.HTTP.Limits.HeaderBytes),
		Pace: server.Pace{
			Stall: c.HTTP.Timeouts.Stall, Rate: int64(c.HTTP.Limits.MinimumRate), Request: c.HTTP.Timeouts.Request,
		},
		Limits: server.Limits{
			Connections: c.HTTP.Limits.Connections, PerClient: c.HTTP.Limits.ConnectionsPerClient,
			Requests: c.HTTP.Limits.Requests, Uploads: c.HTTP.Limits.Uploads,
			AccountRequests: c.HTTP.Limits.RequestsPerAccount, AccountUploads: c.HTTP.Limits.UploadsPerAccount,
			Streams: c.HTTP.Limits.Streams, AccountStreams: c.HTTP.Limits.StreamsPerAccount,
		}.Within(server.OpenFiles(), int64(c.Limits.Memory)),
		TrustedProxies: server.Networks(c.HTTP.TrustedProxies),
		AccessLog:      c.Log.Access,
		Log:            log,
	}
	if c.HTTP.TLS.Certificate != "" {
		pair, err := server.LoadCertificate(c.HTTP.TLS.Certificate, c.HTTP.TLS.Key, log)
		if err != nil {
			return nil, err
		}
		o.TLS = pair.Config()
		pair.Register(metrics)
		reload.steps = append(reload.steps, pair.Reload)
	} else if b.accounts.Closed() && !config.Loopback(c.HTTP.Listen) && !strings.HasPrefix(c.HTTP.PublicURL, "https://") {
		log.Warn("without TLS, tokens travel in clear: set http.tls, or http.public_url to the https address of a proxy in front")
	}
	if c.Metrics.Enabled {
		o.Metrics = metrics
		if c.Metrics.Listen != "" {
			l, err := net.Listen("tcp", c.Metrics.Listen)
			if err != nil {
				return nil, fmt.Errorf("metrics.listen: cannot listen on %s: %w", c.Metrics.Listen, err)
			}
			o.MetricsListener = l
		}
	}
	if c.Debug.Listen != "" {
		var err error
		if o.Debug, err = listenForDebug(c.Debug.Listen); err != nil {
			return nil, err
		}
		log.Info("profiles are served to this machine", "at", "http://"+o.Debug.Addr().String()+"/debug/pprof/")
	}
	return server.New(o), nil
}

// listenForDebug listens where only this machine comes: also localhost may stand
// for another address.
func listenForDebug(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("debug.listen: cannot listen on %s: %w", address, err)
	}
	if at := l.Addr().String(); !config.Loopback(at) {
		return nil, errors.Join(fmt.Errorf("debug.listen: %s is %s, which other machines can reach; give 127.0.0.1 as the host", address, at), l.Close())
	}
	return l, nil
}

// newImages is the images API; its streams end with ctx.
func newImages(ctx context.Context, c *config.Config, b *berth, metrics *prometheus.Registry, log *slog.Logger) http.Handler {
	o := images.Options{
		PublicHost: hostOf(c.HTTP.PublicURL), PublicURL: c.HTTP.PublicURL, IndexHost: c.HTTP.IndexHost,
		Log: log, RequestID: server.RequestID, CursorKey: b.cursorKey,
		Accounts: b.accounts, Used: b.registry.Used, Folder: b.registry.Folder, Memory: b.memory,
	}
	o.Stopping, o.Streams = ctx.Done(), &images.Streams{}
	server.CountStreams(metrics, o.Streams.Sent, o.Streams.Ended)
	for _, m := range c.HTTP.Metros {
		o.Metros = append(o.Metros, images.Metro(m))
	}
	return images.New(b.catalog, o)
}

func newLog(c config.Log, w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Level)) // validated
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		options.ReplaceAttr = inSeconds
		return slog.New(server.LogHandler(slog.NewJSONHandler(w, options)))
	}
	return slog.New(server.LogHandler(slog.NewTextHandler(w, options)))
}

// inSeconds writes durations as a number that a machine can compare; slog's own
// are nanoseconds, and say so nowhere.
func inSeconds(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.Float64Value(a.Value.Duration().Seconds())
	}
	return a
}

// browsersOf says by which names berth is known.
func browsersOf(c *config.Config, open func() bool) server.Browsers {
	b := server.Browsers{Open: open, Hosts: append([]string{c.HTTP.Listen}, c.HTTP.Hosts...)}
	if c.HTTP.IndexHost != "" {
		b.Hosts = append(b.Hosts, c.HTTP.IndexHost)
	}
	if u, err := url.Parse(c.HTTP.PublicURL); err == nil && u.Host != "" {
		b.Origin = u.Scheme + "://" + u.Host
	}
	return b
}

// hostOf is the host of a URL that was validated, "" of none.
func hostOf(public string) string {
	u, err := url.Parse(public)
	if err != nil {
		return ""
	}
	return u.Host
}

// greet says what a person who has just started berth wants to know.
func greet(ctx context.Context, w io.Writer, c *config.Config, b *berth, address string) {
	base := c.HTTP.PublicURL
	if base == "" {
		scheme := "http"
		if c.HTTP.TLS.Certificate != "" {
			scheme = "https"
		}
		base = scheme + "://" + reachable(address)
	}
	var held string
	if s, err := b.catalog.Stats(ctx); err == nil {
		held = fmt.Sprintf("%s in %s", count(s.Unikernels+s.ROMs, "image"), count(s.Repositories, "repository"))
	}
	access := "open: everyone on this machine may read and write; \"berth account add NAME\" closes it"
	switch accounts := len(b.accounts.Current().Accounts()); {
	case b.accounts.Closed():
		access = fmt.Sprintf("closed: %s in %s", count(int64(accounts), "account"), c.Accounts.File)
	case c.HTTP.Open:
		access = "open: everyone who reaches this address may read and write"
	}
	if c.ReadOnly() {
		access += ", but it is read-only at the moment"
	}
	host := hostOf(base)
	fmt.Fprintf(w, `
berth %s serves %s

  data     %s
  holds    %s
  access   %s

  push     docker push %s/me/app:latest     (or kraft, unikraft, skopeo, crane, …)
  list     curl %s/v1/images

`, version(), base, b.where, held, access, host, base)
}

// reachable turns an address that stands for every interface into one that a
// client on this machine can use.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return address
}

func count(n int64, what string) string {
	switch {
	case n == 1:
		return "1 " + what
	case strings.HasSuffix(what, "y"):
		return fmt.Sprintf("%d %sies", n, strings.TrimSuffix(what, "y"))
	default:
		return fmt.Sprintf("%d %ss", n, what)
	}
}

// interactive reports whether w is a terminal that a person looks at.
func interactive(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isTerminal(f)
}
