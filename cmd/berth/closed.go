package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/berth-oci/berth/config"
)

// stayClosed refuses to open images to everyone that belong to accounts: those
// of a backup without its accounts file, say. Whether they do is noted with the
// images themselves, now or as soon as there are accounts.
func (b *berth) stayClosed(ctx context.Context, c *config.Config, log *slog.Logger) error {
	if b.accounts.Closed() {
		return b.markClosed(ctx, c)
	}
	closed, err := b.store.Closed(ctx)
	if err != nil {
		return err
	}
	switch {
	case closed && !c.HTTP.Open:
		return fmt.Errorf("these images belong to accounts, and the accounts file %s is not there: without it everyone who reaches berth may read and write; "+
			"put it back, name another one in accounts.file, begin anew with berth account add NAME --admin, or allow it: http.open, in the file as \"http: {open: true}\", in the environment as BERTH_HTTP_OPEN=true", c.Accounts.File)
	case closed:
		log.Warn("THE REGISTRY IS OPEN, although its images belong to accounts: the accounts file is not there, and http.open is set", "file", c.Accounts.File)
	}
	// The file may have gone since the configuration was checked.
	if err := c.Validate(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-ctx.Done():
		case <-b.accounts.WhenClosed():
			if err := b.markClosed(ctx, c); err != nil {
				log.Error("a copy of the storage could come up open", "error", err)
			}
		}
	}()
	b.closers = append(b.closers, func() error { cancel(); <-done; return nil })
	return nil
}

func (b *berth) markClosed(ctx context.Context, c *config.Config) error {
	if c.ReadOnly() {
		return nil
	}
	return b.store.MarkClosed(ctx)
}
