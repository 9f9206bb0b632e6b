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

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/berth-oci/berth/config"
	"github.com/berth-oci/berth/registry"
)

// Some commands work on a registry that is stopped, and on one that runs with the
// data folder: that one then does it, and tells by its socket what it does. What
// they all do is here.

// errReadOnly is of a command that would change what is not to be changed.
var errReadOnly = errors.New("the registry is read-only at the moment: storage.maintenance.readonly.enabled")

// withRegistry calls live if a berth runs with the data folder, else stopped with one
// that is opened for it, and returns what that does.
func withRegistry[S any](ctx context.Context, c *config.Config, live func() (S, error), stopped func(*berth) (S, error)) (summary S, err error) {
	switch where, _ := concerned(c); where {
	case registryRunning, registryOther:
		return live()
	case registryNone:
		if neverStored(c) {
			return summary, fmt.Errorf("there is no registry in %s", c.Data)
		}
	}
	b, err := openQuietly(ctx, c)
	if err != nil {
		return summary, err
	}
	summary, err = stopped(b)
	return summary, errors.Join(err, b.close())
}

// openQuietly opens a berth for a command: nobody reads its log and its metrics.
func openQuietly(ctx context.Context, c *config.Config) (*berth, error) {
	quiet := slog.New(slog.DiscardHandler)
	registry.LogTo(quiet)
	return open(ctx, c, prometheus.NewRegistry(), quiet, io.Discard)
}

// ask has the berth that runs with a data folder do something. It calls found with
// each finding and told with each summary, and returns the last; what nobody wants
// to be told of has nil.
func ask[F, S any](ctx context.Context, data, target string, found func(F), told func(S)) (summary S, err error) {
	err = askControl(ctx, data, target, func(m message) error {
		if m.Finding != nil {
			var one F
			err := json.Unmarshal(m.Finding, &one)
			if err == nil && found != nil {
				found(one)
			}
			return err
		}
		err := json.Unmarshal(m.Summary, &summary)
		if err == nil && told != nil {
			told(summary)
		}
		return err
	})
	return summary, err
}

// answering is the handler of what a command has the berth do. What do sends comes
// before the summary that it returns.
func answering[S any](b *berth, do func(r *http.Request, send func(message)) (S, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		b.working.Add(1)
		defer b.working.Done()
		send := sender(w)
		summary, err := do(r, send)
		if err != nil {
			send(message{Error: err.Error()})
			return
		}
		send(message{Summary: asJSON(summary), Final: true})
	}
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

// outputFlag adds the form of what is printed.
func outputFlag(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVar(output, "output", "text", "text or json")
}

// wantsJSON is what that flag says.
func wantsJSON(output string) (bool, error) {
	if output != "text" && output != "json" {
		return false, fmt.Errorf("--output is text or json, not %q", output)
	}
	return output == "json", nil
}

// jsonList prints an object that begins with a list, of which one item comes after
// the other.
type jsonList struct {
	out  io.Writer
	name string
	some bool
}

func (l *jsonList) add(item any) {
	begin := ",\n"
	if !l.some {
		begin = "{\"" + l.name + "\":[\n"
	}
	l.some = true
	fmt.Fprintf(l.out, "%s%s", begin, asJSON(item))
}

// end prints the rest of the object.
func (l *jsonList) end(format string, args ...any) error {
	if !l.some {
		fmt.Fprintf(l.out, "{\"%s\":[", l.name)
	}
	_, err := fmt.Fprintf(l.out, "],\n"+format+"}\n", args...)
	return err
}
