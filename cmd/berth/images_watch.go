package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-oci/berth/catalog/images/client"
	"github.com/berth-oci/berth/cmd/berth/remote"
	"github.com/berth-oci/berth/config"
	"github.com/berth-oci/berth/storage/reference"
)

// watch is what images watch is asked for.
type watch struct {
	since        string
	initial      bool
	repositories []string
	types        []string
	most         int
}

func (i *imageCommands) newWatch() *cobra.Command {
	var w watch
	cmd := &cobra.Command{
		Use:   "watch [NAMESPACE…]",
		Short: "Print what is pushed, tagged and deleted, as it happens",
		Long: `Print what is pushed, tagged and deleted in a berth, as it happens and as far as you
may see it: everywhere, or in namespaces (alice), in repositories and below
(alice/app), or among the official images (official). It goes on by itself when the
connection is lost, and misses nothing; Ctrl-C ends it.

With --output json each line is one object of the images API's changes. Bookmarks are
among them, which say how far you have come: --since goes on after a revision. Exit
status 7 says that berth cannot tell all that came after it: list again, or begin with
--initial, which prints what is there first, and does so again where it must.`,
		Example: `  berth images watch
  berth images watch alice official --type push --type delete
  berth images watch --initial --output json
  berth images watch --since 8c1f0a5e93b7d264.1042 --count 1`,
		Args: func(_ *cobra.Command, args []string) error { return areNames(args) },
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := w.check(); err != nil {
				return usageError{err}
			}
			c, err := i.client(cmd)
			if err != nil {
				return err
			}
			asks, err := imagesAPI(cmd.Context(), c)
			if err != nil {
				return err
			}
			return i.follow(cmd, asks, c.Host(), w, args)
		},
	}
	f := cmd.Flags()
	f.StringVar(&w.since, "since", "", "begin after this revision (default with what comes from now on)")
	f.BoolVar(&w.initial, "initial", false, "begin with what is there now")
	f.StringArrayVar(&w.repositories, "repository", nil, "only this repository, and nothing below it; can be given again")
	f.StringArrayVar(&w.types, "type", nil, "only these: "+strings.Join(config.ChangeTypes, ", ")+"; can be given again")
	f.IntVar(&w.most, "count", 0, "end after so many changes")
	_ = cmd.RegisterFlagCompletionFunc("type", cobra.FixedCompletions(config.ChangeTypes, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (w watch) check() error {
	switch {
	case w.since != "" && w.initial:
		return errors.New("--since and --initial are two ways to begin: give one of them")
	case w.most < 0:
		return fmt.Errorf("--count: %d is less than 0", w.most)
	}
	return areNames(w.repositories)
}

// areNames refuses what is no namespace or repository.
func areNames(all []string) error {
	for _, name := range all {
		if !reference.IsName(name) {
			return fmt.Errorf("%.100q is no namespace or repository: it wants something like alice or alice/app, in lower case, without a host or tag", name)
		}
	}
	return nil
}

// imagesAPI is a client of the images API of the host that is meant.
func imagesAPI(ctx context.Context, c *remote.Client) (*client.Client, error) {
	account, secret, err := c.Credentials(ctx, c.Host())
	if err != nil {
		return nil, err
	}
	options := []client.Option{client.WithUserAgent("berth/" + version())}
	if secret != "" {
		options = append(options, client.WithToken(client.AccountToken(account, secret)))
	}
	return client.New(c.URL(c.Host()), options...)
}

// following is one run of images watch.
type following struct {
	*imageCommands
	cmd     *cobra.Command
	host    string
	initial bool
	// connected is set once berth has answered as it is to.
	connected bool
	// last is the last revision that was printed, n how many changes were.
	last    string
	n, most int
}

// follow prints changes until it is ended, there were enough, or an error comes that
// does not pass.
func (i *imageCommands) follow(cmd *cobra.Command, asks *client.Client, host string, w watch, namespaces []string) error {
	f := &following{imageCommands: i, cmd: cmd, host: host, initial: w.initial, last: w.since, most: w.most}
	o := client.ChangesOptions{Initial: w.initial, Namespaces: namespaces, Repositories: w.repositories, OnRetry: f.lost}
	for _, one := range w.types {
		o.Types = append(o.Types, client.ChangeType(one))
	}
	if f.last == "" && !w.initial {
		// What is pushed once the line below is printed is not missed.
		var err error
		if f.last, err = asks.Revision(cmd.Context()); err != nil {
			return askError(host, err)
		}
		f.connected = true
	}
	o.Since = f.last
	fmt.Fprintf(cmd.ErrOrStderr(), "Watching %s; Ctrl-C ends it.\n", host)
	for {
		done, err := f.print(asks.Changes(cmd.Context(), o))
		switch {
		case done:
			return err
		case cmd.Context().Err() != nil: // Ctrl-C
			if f.last != "" {
				fmt.Fprintf(cmd.ErrOrStderr(), "To go on from here: --since %s\n", f.last)
			}
			return nil
		case client.IsGone(err) && f.connected && f.initial:
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: %v; listing again\n", host, err)
			f.connected = false
		case errors.Is(err, remote.ErrUnavailable):
			return fmt.Errorf("%s: %w", host, err)
		default:
			return askError(host, err)
		}
	}
}

// print prints changes until there were enough, or they cannot be printed: done is set
// then; or else up to an error of theirs.
func (f *following) print(changes iter.Seq2[client.Change, error]) (done bool, err error) {
	for change, err := range changes {
		if err != nil {
			return false, err
		}
		f.connected = true
		f.last = cmp.Or(change.Revision, f.last)
		if err := f.printChange(f.cmd.OutOrStdout(), change); err != nil {
			return true, err
		}
		if isChange(change) {
			f.n++
		}
		if f.n == f.most && f.n > 0 {
			return true, nil
		}
	}
	return true, nil
}

// lost is told why the connection was lost.
func (f *following) lost(err error, wait time.Duration) error {
	if !f.connected { // the address may be wrong
		return fmt.Errorf("%w (%w)", err, remote.ErrUnavailable)
	}
	fmt.Fprintf(f.cmd.ErrOrStderr(), "%s: %v; trying again in %s\n", f.host, err, wait.Round(100*time.Millisecond))
	return nil
}

// isChange reports whether something happened in a repository.
func isChange(c client.Change) bool {
	return c.Type != client.TypeBegin && c.Type != client.TypeImage && c.Type != client.TypeBookmark
}

func (i *imageCommands) printChange(w io.Writer, c client.Change) error {
	if i.output == "json" {
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		return encoder.Encode(c)
	}
	if c.Type == client.TypeBegin || c.Type == client.TypeBookmark {
		return nil
	}
	when := "-"
	if !c.Time.IsZero() {
		when = c.Time.UTC().Format("2006-01-02 15:04:05")
	}
	line := fmt.Sprintf("%-19s  %-6s  %s", when, c.Type, c.Repository)
	if c.Digest != "" {
		line += "@" + short(c.Digest)
	}
	var tags []string
	for _, tag := range c.Tags {
		tags = append(tags, map[bool]string{true: "-", false: "+"}[tag.Digest == ""]+tag.Name)
	}
	if c.Type == client.TypeImage && len(c.Images) > 0 {
		tags = c.Images[0].Tags
	}
	if len(tags) > 0 {
		line += "  " + cells(tags)
	}
	if c.By != "" {
		line += "  by " + c.By
	}
	_, err := fmt.Fprintln(w, line)
	return err
}
