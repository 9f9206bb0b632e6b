package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/berth-oci/berth/config"
	"github.com/berth-oci/berth/storage"
)

// newIndex is the command about the index.
func newIndex() *cobra.Command {
	cmd := &cobra.Command{Use: "index", Short: "Make the index anew"}
	var s settings
	rebuild := &cobra.Command{
		Use:   "rebuild",
		Short: "Make the index anew from storage",
		Long: `Make the index anew from storage, beside the one that is there, which is replaced
at the end. The registry must be stopped; berth fsck --repair mends the index of
one that runs.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := s.loadAnyway()
			if err != nil {
				return err
			}
			if where, _ := concerned(c); where == registryNone && neverStored(c) {
				return fmt.Errorf("there is no registry in %s", c.Data)
			}
			return rebuildIndex(cmd.Context(), c, newLog(c.Log, cmd.ErrOrStderr()), cmd.ErrOrStderr())
		},
	}
	s.flags(rebuild)
	cmd.AddCommand(rebuild)
	return cmd
}

// rebuildIndex makes the index anew, of a berth that is stopped.
func rebuildIndex(ctx context.Context, c *config.Config, log *slog.Logger, stderr io.Writer) (err error) {
	b := &berth{}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.lock(ctx, c); err != nil {
		return err
	}
	section, err := c.DistributionStorage()
	if err != nil {
		return err
	}
	if b.store, err = storage.Open(ctx, section.Type(), section.Parameters()); err != nil {
		return err
	}
	b.closers = append(b.closers, b.store.Close)
	index, err := buildIndex(ctx, c, b.store, log, stderr)
	if err != nil {
		return err
	}
	return index.Close()
}
