package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/berth-oci/berth/catalog/bolt"
	"github.com/berth-oci/berth/catalog/fsck"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/config"
	"github.com/berth-oci/berth/registry"
	"github.com/berth-oci/berth/storage"
)

// The exit status of fsck, as a sum: see its help. None of exitFailed and its like
// is among them.
const (
	leftInIndex   = 8
	leftInStorage = 16
)

// leftOver ends a check that has said what is left: it is the exit status.
type leftOver int

func (l leftOver) Error() string { return fmt.Sprintf("exit status %d", int(l)) }

func newFsck() *cobra.Command {
	var s settings
	var deep, repair bool
	var output string
	cmd := &cobra.Command{
		Use:   "fsck",
		Short: "Check storage and index against each other, and mend them",
		Long: `Check storage and index against each other, in both directions: links, tags,
manifests, what refers to what, lists, counts, quotas, times. --deep also reads
every blob. A check changes nothing.

With --repair, what can be mended is: links, and whatever the index has wrong.
What nobody can mend is moved into quarantine. Nothing is deleted, and bytes that
are missing come back with the next push.

It works on a registry that is stopped, and on one that runs with the data folder:
that one then does it, while it goes on.

The exit status is 0 if nothing is left that matters, 1 if the check could not be
done, else the sum of 8, if something is left that the index has wrong, and 16, if
bytes, links or tags are missing or damaged in storage. Bytes that nothing links
are shown, and are no fault.`,
		Example: `  berth fsck --data /var/lib/berth
  berth fsck --deep --output json
  berth fsck --repair`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := s.loadAnyway()
			if err != nil {
				return err
			}
			if output != "text" && output != "json" {
				return fmt.Errorf("--output is text or json, not %q", output)
			}
			p := &fsckPrinter{out: cmd.OutOrStdout(), progress: cmd.ErrOrStderr(), json: output == "json"}
			summary, err := runFsck(cmd.Context(), c, deep, repair, p)
			if err != nil {
				return err
			}
			return p.end(summary)
		},
	}
	s.flags(cmd)
	cmd.Flags().BoolVar(&deep, "deep", false, "read every blob")
	cmd.Flags().BoolVar(&repair, "repair", false, "mend what can be mended, and move into quarantine what cannot")
	cmd.Flags().StringVar(&output, "output", "text", "text or json")
	return cmd
}

// runFsck has the berth that runs do it, or does it.
func runFsck(ctx context.Context, c *config.Config, deep, repair bool, p *fsckPrinter) (fsck.Summary, error) {
	switch where, _ := concerned(c); where {
	case registryRunning, registryOther:
		return askFsck(ctx, c, deep, repair, p)
	case registryNone:
		if neverStored(c) {
			return fsck.Summary{}, fmt.Errorf("there is no registry in %s", c.Data)
		}
	}
	quiet := slog.New(slog.DiscardHandler)
	registry.LogTo(quiet)
	b, err := open(ctx, c, prometheus.NewRegistry(), quiet, io.Discard)
	if err != nil {
		return fsck.Summary{}, err
	}
	summary, err := b.fsck(ctx, c, deep, repair, p.found, p.tell)
	if err = errors.Join(err, b.close()); err != nil || !repair || summary.Index == 0 {
		return summary, err
	}
	// What the index counts, only another one has right.
	if err := rebuildIndex(ctx, c, quiet, io.Discard); err != nil {
		return summary, err
	}
	summary.Index = 0
	return summary, nil
}

func askFsck(ctx context.Context, c *config.Config, deep, repair bool, p *fsckPrinter) (summary fsck.Summary, err error) {
	target := fmt.Sprintf("/fsck?deep=%v&repair=%v", deep, repair)
	err = askControl(ctx, c.Data, target, func(m message) error {
		if m.Finding != nil {
			var f fsck.Finding
			if err := json.Unmarshal(m.Finding, &f); err != nil {
				return err
			}
			p.found(f)
			return nil
		}
		if err := json.Unmarshal(m.Summary, &summary); err != nil {
			return err
		}
		p.tell(summary)
		return nil
	})
	return summary, err
}

// fsck checks what the berth has open.
func (b *berth) fsck(ctx context.Context, c *config.Config, deep, repair bool, found func(fsck.Finding), progress func(fsck.Summary)) (fsck.Summary, error) {
	if repair && c.ReadOnly() {
		return fsck.Summary{}, errors.New("the registry is read-only at the moment: storage.maintenance.readonly.enabled")
	}
	return fsck.Run(ctx, fsck.Options{
		Store: b.store, Index: b.index, Catalog: b.catalog, Deep: deep, Repair: repair, Found: found, Progress: progress,
		Another: func(fn func(index.Index) error) error { return anotherIndex(c, b.store, fn) },
	})
}

// errRemoved ends the building of an index that nobody is to keep.
var errRemoved = errors.New("the index was not to be kept")

// anotherIndex calls fn with an index that is removed after it.
func anotherIndex(c *config.Config, store *storage.Store, fn func(index.Index) error) error {
	dir, err := os.MkdirTemp(c.Data, ".fsck-")
	if err != nil {
		return err
	}
	var done error
	_, err = bolt.Build(filepath.Join(dir, "catalog.db"), store.Identity(), func(x *bolt.Index) error {
		done = fn(x)
		return errRemoved
	})
	if errors.Is(err, errRemoved) {
		err = nil
	}
	return errors.Join(done, err, os.RemoveAll(dir))
}

// serveFsck does it for a command.
func (b *berth) serveFsck(w http.ResponseWriter, r *http.Request, c *config.Config, log *slog.Logger) {
	b.working.Add(1)
	defer b.working.Done()
	var mu sync.Mutex
	encoder, last := json.NewEncoder(w), time.Now()
	send := func(m message) {
		mu.Lock()
		defer mu.Unlock()
		_ = encoder.Encode(m) // who does not read any more has ended the request
		_ = http.NewResponseController(w).Flush()
	}
	text := func(v any) json.RawMessage {
		text, _ := json.Marshal(v) // of strings and numbers
		return text
	}
	query := r.URL.Query()
	repair := query.Get("repair") == "true"
	summary, err := b.fsck(r.Context(), c, query.Get("deep") == "true", repair, func(f fsck.Finding) {
		log.Warn("fsck has found something", "kind", string(f.Kind), "repository", f.Repository, "digest", f.Digest, "tag", f.Tag, "done", f.Done)
		send(message{Finding: text(f)})
	}, func(s fsck.Summary) {
		const every = 200 * time.Millisecond
		if time.Since(last) > every {
			last = time.Now()
			send(message{Summary: text(s)})
		}
	})
	if err != nil {
		send(message{Error: err.Error()})
		return
	}
	log.Info("fsck has ended", "repair", repair, "repositories", summary.Repositories, "blobs", summary.Blobs,
		"left_in_index", summary.Index, "left_in_storage", summary.Storage)
	send(message{Summary: text(summary), Final: true})
}

// fsckPrinter shows what comes of it.
type fsckPrinter struct {
	out, progress io.Writer
	json          bool
	some          bool
}

func (p *fsckPrinter) found(f fsck.Finding) {
	if p.json {
		text, _ := json.Marshal(f) // of strings
		begin := ",\n"
		if !p.some {
			begin = "{\"findings\":[\n"
		}
		p.some = true
		fmt.Fprintf(p.out, "%s%s", begin, text)
		return
	}
	what := f.Repository
	if f.Tag != "" {
		what += ":" + f.Tag
	}
	if f.Digest != "" {
		what += "@" + f.Digest.String()
	}
	line := fmt.Sprintf("%s %s", f.Kind, what)
	if f.Detail != "" {
		line += ": " + f.Detail
	}
	if f.Done != "" {
		line += " [" + f.Done + "]"
	}
	fmt.Fprintln(p.out, line)
}

func (p *fsckPrinter) tell(s fsck.Summary) {
	if !p.json && interactive(p.progress) {
		fmt.Fprintf(p.progress, "\r%d repositories, %d manifests, %d blobs, %d bytes read ", s.Repositories, s.Manifests, s.Blobs, s.Bytes)
	}
}

// end shows the summary, and returns the exit status.
func (p *fsckPrinter) end(s fsck.Summary) error {
	if p.json {
		if !p.some {
			fmt.Fprint(p.out, "{\"findings\":[")
		}
		text, err := json.Marshal(s)
		if err != nil {
			return err
		}
		fmt.Fprintf(p.out, "],\n\"summary\":%s}\n", text)
	} else {
		if interactive(p.progress) {
			fmt.Fprintln(p.progress)
		}
		for _, kind := range slices.Sorted(maps.Keys(s.Kinds)) {
			fmt.Fprintf(p.out, "%6d %s\n", s.Kinds[kind], kind)
		}
		fmt.Fprintf(p.out, "%d repositories, %d manifests, %d blobs: %d findings are left in the index, %d in storage\n",
			s.Repositories, s.Manifests, s.Blobs, s.Index, s.Storage)
	}
	status := leftOver(0)
	if s.Index > 0 {
		status += leftInIndex
	}
	if s.Storage > 0 {
		status += leftInStorage
	}
	if status == 0 {
		return nil
	}
	return status
}
