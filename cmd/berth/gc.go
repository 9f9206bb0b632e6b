package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-oci/berth/config"
	"github.com/berth-oci/berth/config/size"
	"github.com/berth-oci/berth/storage/collect"
)

// gcStatus is what is known of the collection.
type gcStatus struct {
	// Running says whether a berth runs with the data folder, Background whether it
	// collects by itself.
	Running    bool `json:"running"`
	Background bool `json:"background"`
	collect.Status
	// Uncollected is what nothing refers to any more, in bytes, the quarantine
	// included; Quarantine is that part.
	Uncollected int64 `json:"uncollected_bytes"`
	Quarantine  int64 `json:"quarantine_bytes"`
}

func newGC() *cobra.Command {
	var s settings
	var dry bool
	var output string
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Remove what nothing refers to any more",
		Long: `Remove what nothing refers to any more: blobs that no manifest of any repository
needs, once they have been so for collect.lease and were kept for
collect.quarantine, links that their repository does not need, manifests whose
subject is gone, and uploads that nobody goes on with.

A registry that runs does that by itself, in the background, while people push and
pull. This does it now; on one that runs with the data folder, through that. What
has been idle for less than the lease stays, whoever asks. With --dry-run, what would
go is shown, and stays.`,
		Example: `  berth gc --data /var/lib/berth
  berth gc --dry-run --output json
  berth gc status`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withGC(cmd, &s, output, func(ctx context.Context, c *config.Config, p *gcPrinter) error {
				freed, err := runGC(ctx, c, dry, p.going)
				if err != nil {
					return err
				}
				return p.freed(freed, dry)
			})
		},
	}
	s.flags(cmd)
	cmd.Flags().BoolVar(&dry, "dry-run", false, "show what would go, and remove nothing")
	outputFlag(cmd, &output)
	cmd.AddCommand(newGCStatus())
	return cmd
}

func newGCStatus() *cobra.Command {
	var s settings
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what was removed, and what waits for it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withGC(cmd, &s, output, func(ctx context.Context, c *config.Config, p *gcPrinter) error {
				status, err := askGCStatus(ctx, c)
				if err != nil {
					return err
				}
				return p.status(status)
			})
		},
	}
	s.flags(cmd)
	outputFlag(cmd, &output)
	return cmd
}

func withGC(cmd *cobra.Command, s *settings, output string, do func(context.Context, *config.Config, *gcPrinter) error) error {
	c, err := s.loadAnyway()
	if err != nil {
		return err
	}
	json, err := wantsJSON(output)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	return do(cmd.Context(), c, &gcPrinter{out: out, json: json, list: jsonList{out: out, name: "going"}})
}

// runGC has the berth that runs do it, or does it.
func runGC(ctx context.Context, c *config.Config, dry bool, going func(collect.Going)) (collect.Freed, error) {
	return withRegistry(ctx, c, func() (collect.Freed, error) {
		return ask[collect.Going, collect.Freed](ctx, c.Data, fmt.Sprintf("/gc?dry_run=%v", dry), going, nil)
	}, func(b *berth) (collect.Freed, error) { return b.gc(ctx, c, dry, going) })
}

// gc sweeps now, or shows what a sweep would take.
func (b *berth) gc(ctx context.Context, c *config.Config, dry bool, going func(collect.Going)) (collect.Freed, error) {
	if dry {
		return b.collector.Sweep(ctx, going)
	}
	if c.ReadOnly() {
		return collect.Freed{}, errReadOnly
	}
	return b.collector.Sweep(ctx, nil)
}

func askGCStatus(ctx context.Context, c *config.Config) (gcStatus, error) {
	return withRegistry(ctx, c, func() (gcStatus, error) {
		return ask[struct{}, gcStatus](ctx, c.Data, "/gc/status", nil, nil)
	}, func(b *berth) (gcStatus, error) { return b.gcStatus(ctx) })
}

func (b *berth) gcStatus(ctx context.Context) (gcStatus, error) {
	s := gcStatus{Status: b.collector.Status()}
	stats, err := b.catalog.Stats(ctx)
	if err == nil {
		s.Uncollected = stats.Uncollected
		s.Quarantine, err = b.catalog.Kept(ctx)
	}
	return s, err
}

// serveGC does it for a command.
func (b *berth) serveGC(c *config.Config, log *slog.Logger) http.HandlerFunc {
	return answering(b, func(r *http.Request, send func(message)) (collect.Freed, error) {
		dry := r.URL.Query().Get("dry_run") == "true"
		freed, err := b.gc(r.Context(), c, dry, func(g collect.Going) { send(message{Finding: asJSON(g)}) })
		if err == nil {
			log.Info("a command had it collect", "dry_run", dry)
		}
		return freed, err
	})
}

// serveGCStatus answers a command.
func (b *berth) serveGCStatus(c *config.Config) http.HandlerFunc {
	return answering(b, func(r *http.Request, _ func(message)) (gcStatus, error) {
		status, err := b.gcStatus(r.Context())
		status.Running, status.Background = true, c.Collect.Enabled && !c.ReadOnly()
		return status, err
	})
}

// gcPrinter shows what comes of it.
type gcPrinter struct {
	out   io.Writer
	json  bool
	list  jsonList
	bytes int64
}

func (p *gcPrinter) going(g collect.Going) {
	if g.What != "link" { // its bytes are shown once nothing links them
		p.bytes += g.Bytes
	}
	if p.json {
		p.list.add(g)
		return
	}
	if g.What == "uploads" {
		fmt.Fprintf(p.out, "%-9s %10s  %d that nobody goes on with\n", g.What, size.Text(g.Bytes), g.Count)
		return
	}
	what := g.Digest.String()
	if g.Repository != "" {
		what = g.Repository + "@" + what
	} else if g.Namespace != "" {
		what += " of " + g.Namespace
	}
	idle := time.Duration(g.Idle * float64(time.Second)).Round(time.Second)
	fmt.Fprintf(p.out, "%-9s %10s  %s, idle for %s\n", g.What, size.Text(g.Bytes), what, idle)
}

func (p *gcPrinter) freed(f collect.Freed, dry bool) error {
	if p.json {
		return p.list.end("\"dry_run\":%v,\"freed\":%s", dry, asJSON(f))
	}
	if dry {
		_, err := fmt.Fprintf(p.out, "%s would go. Of links, the bytes follow if no other repository links them.\n", size.Text(p.bytes))
		return err
	}
	p.amounts(f)
	return nil
}

func (p *gcPrinter) amounts(f collect.Freed) {
	fmt.Fprintf(p.out, "  freed        %s: %s that nothing referred to, %s that nobody knew of, %s of uploads that nobody went on with\n",
		size.Text(f.Bytes()), size.Text(f.Unreferenced.Bytes), size.Text(f.Strays.Bytes), size.Text(f.Uploads.Bytes))
	fmt.Fprintf(p.out, "  removed      %s, %s, %s (%s), %s\n", count(int64(f.Links), "link"), count(int64(f.Manifests), "manifest"),
		count(int64(f.Swept.Count), "blob"), size.Text(f.Swept.Bytes), count(int64(f.Uploads.Count), "upload"))
	if f.Busy > 0 {
		fmt.Fprintf(p.out, "  left         %d that somebody used\n", f.Busy)
	}
}

func (p *gcPrinter) status(s gcStatus) error {
	if p.json {
		_, err := fmt.Fprintf(p.out, "%s\n", asJSON(s))
		return err
	}
	how := "berth is stopped"
	switch {
	case s.Background:
		how = "in the background"
	case s.Running:
		how = "by \"berth gc\" alone"
	}
	fmt.Fprintf(p.out, "collection     %s\n", how)
	fmt.Fprintf(p.out, "uncollected    %s, of it in quarantine %s\n", size.Text(s.Uncollected), size.Text(s.Quarantine))
	if s.Ended.IsZero() {
		_, err := fmt.Fprintln(p.out, "last sweep     never")
		return err
	}
	fmt.Fprintf(p.out, "last sweep     %s, took %s\n", s.Ended.Format(time.RFC3339), s.Ended.Sub(s.Began).Round(time.Millisecond))
	if s.Error != "" {
		fmt.Fprintf(p.out, "  not to its end: %s\n", s.Error)
	}
	p.amounts(s.Last)
	if s.Running {
		fmt.Fprintln(p.out, "since the start")
		p.amounts(s.Total)
	}
	return nil
}
