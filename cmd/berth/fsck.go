package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-oci/berth/catalog/bolt"
	"github.com/berth-oci/berth/catalog/fsck"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/config"
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
			json, err := wantsJSON(output)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			p := &fsckPrinter{out: out, progress: cmd.ErrOrStderr(), json: json, list: jsonList{out: out, name: "findings"}}
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
	outputFlag(cmd, &output)
	return cmd
}

// runFsck has the berth that runs do it, or does it.
func runFsck(ctx context.Context, c *config.Config, deep, repair bool, p *fsckPrinter) (fsck.Summary, error) {
	stopped := false
	summary, err := withRegistry(ctx, c, func() (fsck.Summary, error) {
		return ask(ctx, c.Data, fmt.Sprintf("/fsck?deep=%v&repair=%v", deep, repair), p.found, p.tell)
	}, func(b *berth) (fsck.Summary, error) {
		stopped = true
		return b.fsck(ctx, c, deep, repair, p.found, p.tell)
	})
	if err != nil || !stopped || !repair || summary.Index == 0 {
		return summary, err
	}
	// What the index counts, only another one has right.
	if err := rebuildIndex(ctx, c, slog.New(slog.DiscardHandler), io.Discard); err != nil {
		return summary, err
	}
	summary.Index = 0
	return summary, nil
}

// fsck checks what the berth has open.
func (b *berth) fsck(ctx context.Context, c *config.Config, deep, repair bool, found func(fsck.Finding), progress func(fsck.Summary)) (fsck.Summary, error) {
	if repair && c.ReadOnly() {
		return fsck.Summary{}, errReadOnly
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
func (b *berth) serveFsck(c *config.Config, log *slog.Logger) http.HandlerFunc {
	return answering(b, func(r *http.Request, send func(message)) (fsck.Summary, error) {
		last, query := time.Now(), r.URL.Query()
		repair := query.Get("repair") == "true"
		summary, err := b.fsck(r.Context(), c, query.Get("deep") == "true", repair, func(f fsck.Finding) {
			log.Warn("fsck has found something", "kind", string(f.Kind), "repository", f.Repository, "digest", f.Digest, "tag", f.Tag, "done", f.Done)
			send(message{Finding: asJSON(f)})
		}, func(s fsck.Summary) {
			const every = 200 * time.Millisecond
			if time.Since(last) > every {
				last = time.Now()
				send(message{Summary: asJSON(s)})
			}
		})
		if err == nil {
			log.Info("fsck has ended", "repair", repair, "repositories", summary.Repositories, "blobs", summary.Blobs,
				"left_in_index", summary.Index, "left_in_storage", summary.Storage)
		}
		return summary, err
	})
}

// fsckPrinter shows what comes of it.
type fsckPrinter struct {
	out, progress io.Writer
	json          bool
	list          jsonList
}

func (p *fsckPrinter) found(f fsck.Finding) {
	if p.json {
		p.list.add(f)
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
		_ = p.list.end("\"summary\":%s", asJSON(s))
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
