package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/berth-oci/berth/cmd/berth/server"
	"github.com/berth-oci/berth/config"
)

// reloader does on SIGHUP what whoever has moved or replaced a file wants: the
// log and the audit log are opened again, accounts and certificate read again.
type reloader struct {
	steps   []func() error
	signals chan os.Signal
}

// listenForReload takes the signal from now on: it would end the process.
func listenForReload() *reloader {
	r := &reloader{signals: make(chan os.Signal, 1)}
	signal.Notify(r.signals, syscall.SIGHUP)
	return r
}

// run reloads on each signal until ctx ends.
func (r *reloader) run(ctx context.Context, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.signals:
		}
		var errs []error
		for _, step := range r.steps {
			errs = append(errs, step())
		}
		if err := errors.Join(errs...); err != nil {
			log.Error("SIGHUP: not all could be read again; what was in force stays so", "error", err)
			continue
		}
		log.Info("SIGHUP: files opened and read again")
	}
}

// openLog is where the log goes, and how it is closed.
func (r *reloader) openLog(c config.Log, stderr io.Writer) (io.Writer, func() error, error) {
	if c.File == "" {
		return stderr, func() error { return nil }, nil
	}
	f, err := server.OpenLogFile(c.File)
	if err != nil {
		return nil, nil, err
	}
	r.steps = append(r.steps, f.Reopen)
	return f, f.Close, nil
}
