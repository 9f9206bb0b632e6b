// Command bench compares berth with other registries, and with itself: go run
// ./test/bench --help says how.
//
// Everything runs on one machine, in turns: in each round every server does the
// same work once, so that whatever else the machine does slows all alike. What
// counts are ratios within a round, and their spread over the rounds.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/berth-oci/berth/test/bench/figures"
	"github.com/berth-oci/berth/test/bench/peers"
)

func main() {
	o, err := parse(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = run(ctx, o, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is one run.
type bench struct {
	options
	out      io.Writer
	dir      string // of all servers
	pair     *peers.Pair
	programs []*peers.Program // berth first
	report   figures.Report
	begin    time.Time
	servers  []*peers.Server // that run
	folders  int
}

func run(ctx context.Context, o options, out io.Writer) (err error) {
	b := &bench{options: o, out: out, begin: time.Now()}
	if b.dir, err = os.MkdirTemp(o.dir, "berth-bench-"); err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	defer func() {
		b.stopAll()
		err = errors.Join(err, os.RemoveAll(b.dir))
	}()
	if b.pair, err = peers.NewPair(b.dir); err != nil {
		return err
	}
	b.report.Machine = fmt.Sprintf("%d processors, %s/%s, %s, files on %s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version(), peers.FileSystem(b.dir))
	b.say("machine: %s", b.report.Machine)
	if err := b.build(); err != nil {
		return err
	}
	b.say("all of it takes about %s on a machine that does nothing else", about(b.forecast(0)))
	for i, g := range groups {
		if !b.wants(g.name) {
			continue
		}
		b.say("%s; about %s to go", g.name, about(b.forecast(i)))
		if err := g.run(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}
		b.stopAll()
	}
	return b.write()
}

// build gets the servers that are compared.
func (b *bench) build() error {
	b.say("building berth")
	berth, err := peers.Berth()
	if err != nil {
		return err
	}
	b.programs = append(b.programs, berth)
	for _, name := range b.peers {
		build := map[string]func() (*peers.Program, error){"distribution": peers.Distribution, "nginx": peers.Nginx}[name]
		b.say("looking for %s", name)
		p, err := build()
		if errors.Is(err, peers.ErrNotInstalled) {
			b.note("%v: left out", err)
			continue
		}
		if err != nil {
			return err
		}
		b.programs = append(b.programs, p)
	}
	for _, given := range b.given {
		p, err := peers.Given(given)
		if err != nil {
			return err
		}
		b.programs = append(b.programs, p)
	}
	for _, p := range b.programs {
		b.note("%s: %s; on disk when it answers: %s", p.Name, p.About, p.Durable)
	}
	return nil
}

// start starts a server in a new folder.
func (b *bench) start(ctx context.Context, p *peers.Program, secure bool) (*peers.Server, error) {
	return b.startIn(ctx, p, b.folder(p.Name), secure)
}

// folder is a new one; it is not made yet.
func (b *bench) folder(name string) string {
	b.folders++
	return filepath.Join(b.dir, fmt.Sprintf("%03d-%s", b.folders, strings.Map(func(r rune) rune {
		if r == '/' || r == ' ' {
			return '-'
		}
		return r
	}, name)))
}

func (b *bench) startIn(ctx context.Context, p *peers.Program, dir string, secure bool) (*peers.Server, error) {
	place := peers.Place{Data: dir, Logs: b.logs}
	if secure {
		place.Pair = b.pair
	}
	s, err := peers.Start(ctx, p, place)
	if err == nil {
		b.servers = append(b.servers, s)
	}
	return s, err
}

// stopAll ends all servers that run, and removes what they stored.
func (b *bench) stopAll() {
	for _, s := range b.servers {
		if err := s.Stop(); err != nil {
			b.note("%v", err)
		}
		_ = os.RemoveAll(s.Data) // with the rest at the end, if it cannot be now
	}
	b.servers = nil
}

// say tells how far the run has come.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.out, "%6.1fs  %s\n", time.Since(b.begin).Seconds(), fmt.Sprintf(format, args...))
}

// note says what belongs to the figures.
func (b *bench) note(format string, args ...any) {
	note := fmt.Sprintf(format, args...)
	b.report.Notes = append(b.report.Notes, note)
	b.say("%s", note)
}

// add takes a row up, and shows it.
func (b *bench) add(r figures.Row) error {
	b.report.Rows = append(b.report.Rows, r)
	b.say("%s", r.Title())
	return r.Text(b.out)
}

// write writes what the run has found.
func (b *bench) write() error {
	if err := os.MkdirAll(b.results, 0o755); err != nil {
		return err
	}
	for name, write := range map[string]func(io.Writer) error{
		"bench.json": b.report.JSON,
		"bench.md":   b.report.Markdown,
		"bench.svg": func(w io.Writer) error {
			return figures.Chart(w, b.title(), b.report.Rows)
		},
	} {
		var text strings.Builder
		if err := write(&text); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(b.results, name), []byte(text.String()), 0o644); err != nil {
			return err
		}
	}
	b.say("done: bench.json, bench.md and bench.svg are in %s", b.results)
	if b.readme == "" {
		return nil
	}
	return b.document()
}
