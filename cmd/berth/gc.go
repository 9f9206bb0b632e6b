package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/berth-oci/berth/config"
	"github.com/berth-oci/berth/config/size"
	"github.com/berth-oci/berth/registry"
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
	cmd.Flags().StringVar(&output, "output", "text", "text or json")
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
	cmd.Flags().StringVar(&output, "output", "text", "text or json")
	return cmd
}

func withGC(cmd *cobra.Command, s *settings, output string, do func(context.Context, *config.Config, *gcPrinter) error) error {
	c, err := s.loadAnyway()
	if err != nil {
		return err
	}
	if output != "text" && output != "json" {
		return fmt.Errorf("--output is text or json, not %q", output)
	}
	return do(cmd.Context(), c, &gcPrinter{out: cmd.OutOrStdout(), json: output == "json"})
}

// whereGC calls live if a berth runs with the data folder, else stopped with one that
// is opened for it.
func whereGC(ctx context.Context, c *config.Config, live func() error, stopped func(*berth) error) error {
	switch where, _ := concerned(c); where {
	case registryRunning, registryOther:
		return live()
	case registryNone:
		if neverStored(c) {
			return fmt.Errorf("there is no registry in %s", c.Data)
		}
	}
	quiet := slog.New(slog.DiscardHandler)
	registry.LogTo(quiet)
	b, err := open(ctx, c, prometheus.NewRegistry(), quiet, io.Discard)
	if err != nil {
		return err
	}
	return errors.Join(stopped(b), b.close())
}

// runGC has the berth that runs do it, or does it.
func runGC(ctx context.Context, c *config.Config, dry bool, going func(collect.Going)) (freed collect.Freed, err error) {
	err = whereGC(ctx, c, func() error {
		return askControl(ctx, c.Data, fmt.Sprintf("/gc?dry_run=%v", dry), func(m message) error {
			if m.Finding == nil {
				return json.Unmarshal(m.Summary, &freed)
			}
			var one collect.Going
			if err := json.Unmarshal(m.Finding, &one); err != nil {
				return err
			}
			going(one)
			return nil
		})
	}, func(b *berth) (err error) {
		freed, err = b.gc(ctx, c, dry, going)
		return err
	})
	return freed, err
}

// gc sweeps now, or shows what a sweep would take.
func (b *berth) gc(ctx context.Context, c *config.Config, dry bool, going func(collect.Going)) (collect.Freed, error) {
	if dry {
		return b.collector.Sweep(ctx, going)
	}
	if c.ReadOnly() {
		return collect.Freed{}, errors.New("the registry is read-only at the moment: storage.maintenance.readonly.enabled")
	}
	return b.collector.Sweep(ctx, nil)
}

func askGCStatus(ctx context.Context, c *config.Config) (status gcStatus, err error) {
	err = whereGC(ctx, c, func() error {
		return askControl(ctx, c.Data, "/gc/status", func(m message) error { return json.Unmarshal(m.Summary, &status) })
	}, func(b *berth) (err error) {
		status, err = b.gcStatus(ctx)
		return err
	})
	return status, err
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
func (b *berth) serveGC(w http.ResponseWriter, r *http.Request, c *config.Config, log *slog.Logger) {
	b.working.Add(1)
	defer b.working.Done()
	send := sender(w)
	dry := r.URL.Query().Get("dry_run") == "true"
	freed, err := b.gc(r.Context(), c, dry, func(g collect.Going) { send(message{Finding: asJSON(g)}) })
	if err != nil {
		send(message{Error: err.Error()})
		return
	}
	log.Info("a command had it collect", "dry_run", dry)
	send(message{Summary: asJSON(freed), Final: true})
}

// serveGCStatus answers a command.
func (b *berth) serveGCStatus(w http.ResponseWriter, r *http.Request, c *config.Config) {
	b.working.Add(1)
	defer b.working.Done()
	status, err := b.gcStatus(r.Context())
	status.Running, status.Background = true, c.Collect.Enabled && !c.ReadOnly()
	send := sender(w)
	if err != nil {
		send(message{Error: err.Error()})
		return
	}
	send(message{Summary: asJSON(status), Final: true})
}

// sender sends lines of an answer, one at a time.
func sender(w http.ResponseWriter) func(message) {
	var mu sync.Mutex
	encoder := json.NewEncoder(w)
	return func(m message) {
		mu.Lock()
		defer mu.Unlock()
		_ = encoder.Encode(m) // who does not read any more has ended the request
		_ = http.NewResponseController(w).Flush()
	}
}

func asJSON(v any) json.RawMessage {
	text, _ := json.Marshal(v) // of strings, numbers and times
	return text
}

// gcPrinter shows what comes of it.
type gcPrinter struct {
	out   io.Writer
	json  bool
	some  bool
	bytes int64
}

func (p *gcPrinter) going(g collect.Going) {
	if g.What != "link" { // its bytes are shown once nothing links them
		p.bytes += g.Bytes
	}
	if p.json {
		begin := ",\n"
		if !p.some {
			begin = "{\"going\":[\n"
		}
		p.some = true
		fmt.Fprintf(p.out, "%s%s", begin, asJSON(g))
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
		if !p.some {
			fmt.Fprint(p.out, "{\"going\":[")
		}
		_, err := fmt.Fprintf(p.out, "],\n\"dry_run\":%v,\"freed\":%s}\n", dry, asJSON(f))
		return err
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
