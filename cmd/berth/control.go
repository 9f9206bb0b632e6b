package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/berth-oci/berth/config"
)

// A berth that runs is told what to do through a socket in its data folder, which
// only who owns the folder can open: it alone has storage and index in its hands.
// Each answer is lines of JSON as the work goes on; the connection's end is also
// that of the work.

// controlName is the socket in the data folder.
const controlName = "berth.sock"

// message is one line of an answer: of its fields, one is set.
type message struct {
	Finding json.RawMessage `json:"finding,omitempty"`
	Summary json.RawMessage `json:"summary,omitempty"`
	// Final says that the summary is the last.
	Final bool   `json:"final,omitempty"`
	Error string `json:"error,omitempty"`
}

// controlPath is a name of the socket that is short enough for the system, until
// release is called.
func controlPath(data string) (path string, release func(), err error) {
	const longest = 100 // of 104 to 108, with its end
	path = filepath.Join(data, controlName)
	if len(path) < longest {
		return path, func() {}, nil
	}
	dir, err := os.Open(data)
	if err != nil {
		return "", nil, err
	}
	short := fmt.Sprintf("/proc/self/fd/%d", dir.Fd())
	if _, err := os.Stat(short); err != nil {
		_ = dir.Close()
		return "", nil, fmt.Errorf("the path %s is too long for a socket", path)
	}
	return filepath.Join(short, controlName), func() { _ = dir.Close() }, nil
}

// listenControl opens the socket of a berth that has the data folder to itself,
// and serves it until the berth is closed.
func (b *berth) listenControl(c *config.Config, rules *rulesWork, log *slog.Logger) {
	l, err := openControl(c.Data)
	if err != nil {
		log.Warn("commands that want a berth that is stopped do not work while this one runs", "error", err)
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /fsck", b.serveFsck(c, log))
	mux.HandleFunc("POST /gc", b.serveGC(c, log))
	mux.HandleFunc("POST /gc/status", b.serveGCStatus(c))
	mux.HandleFunc("POST /rules", rules.serve())
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l) // ends with Close alone
	}()
	b.closers = append(b.closers, func() error {
		err := s.Close() // the requests end with their contexts
		<-done
		b.working.Wait()
		return err
	})
}

func openControl(data string) (net.Listener, error) {
	path, release, err := controlPath(data)
	if err != nil {
		return nil, err
	}
	defer release()
	info, err := os.Lstat(path)
	switch {
	case err == nil && info.Mode()&fs.ModeSocket == 0:
		return nil, fmt.Errorf("%s is not a socket", path)
	case err == nil:
		err = os.Remove(path) // of a berth that was killed: the lock is ours
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	}
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // by then the path may be another's
	}
	return l, nil
}

// errNoBerth is returned where no berth answers.
var errNoBerth = errors.New("no berth answers")

// askControl has the berth that runs with a data folder do something, and calls
// told with each line of the answer.
func askControl(ctx context.Context, data, target string, told func(message) error) error {
	path, release, err := controlPath(data)
	if err != nil {
		return err
	}
	defer release()
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
	}}
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://berth"+target, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(r)
	if err != nil {
		return errors.Join(errNoBerth, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1024))
		return fmt.Errorf("the berth that runs with %s says: %s", data, text)
	}
	decoder := json.NewDecoder(response.Body)
	for {
		var m message
		if err := decoder.Decode(&m); err != nil {
			return fmt.Errorf("the berth that runs with %s ended in the middle: %w", data, err)
		}
		if m.Error != "" {
			return errors.New(m.Error)
		}
		if err := told(m); err != nil || m.Final {
			return err
		}
	}
}
