// Package peers starts the servers that are compared, and looks at what their
// processes cost.
package peers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Program is a server that can be started.
type Program struct {
	Name string
	// About says what it is, for people.
	About string
	// Durable says what is on disk when it answers a push, as far as is known
	// beside what its trace shows.
	Durable string
	// Static serves files that lie below its data folder by their paths, and
	// takes nothing.
	Static bool

	// binary is that of a berth.
	binary string
	// command is how it is started, and prepare what is to be written before.
	command func(Place) (args, env []string)
	prepare func(Place) error
}

// Place is where a server runs.
type Place struct {
	Address string // host:port
	Data    string // a folder of its own
	// Pair is for TLS; nil means plain HTTP.
	Pair *Pair
	// Logs says whether each request is logged.
	Logs bool
}

// Server is a running server.
type Server struct {
	Program *Program
	Place
	// Took is the time from its start to its first answer.
	Took time.Duration

	cmd    *exec.Cmd
	exited chan struct{}
}

// startPatience is how long a server may take to answer for the first time.
const startPatience = 30 * time.Minute

// Start starts a program and returns when it answers. Its output goes to
// log.txt in its folder.
func Start(ctx context.Context, p *Program, place Place) (*Server, error) {
	var failed error
	for range 3 { // someone else may have taken the port meanwhile
		s, err := start(ctx, p, place)
		if err == nil || ctx.Err() != nil {
			return s, err
		}
		failed = err
	}
	return nil, failed
}

func start(ctx context.Context, p *Program, place Place) (*Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	place.Address = listener.Addr().String()
	if err := errors.Join(listener.Close(), os.MkdirAll(place.Data, 0o700)); err != nil {
		return nil, err
	}
	if p.prepare != nil {
		if err := p.prepare(place); err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	logFile := filepath.Join(place.Data, "log.txt")
	out, err := os.Create(logFile)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	args, env := p.command(place)
	s := &Server{Program: p, Place: place, exited: make(chan struct{})}
	s.cmd = exec.Command(args[0], args[1:]...)
	s.cmd.Env, s.cmd.Dir = append(cleanEnv(), env...), place.Data
	s.cmd.Stdout, s.cmd.Stderr = out, out
	s.cmd.SysProcAttr = endsWithThis()
	begin := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", p.Name, err)
	}
	go func() {
		_ = s.cmd.Wait()
		close(s.exited)
	}()
	if err := s.answers(ctx); err != nil {
		s.Kill()
		said, _ := os.ReadFile(logFile)
		return nil, fmt.Errorf("%s: %w; it said:\n%s", strings.Join(args, " "), err, said[max(0, len(said)-2000):])
	}
	s.Took = time.Since(begin)
	return s, nil
}

// answers waits for the first answer.
func (s *Server) answers(ctx context.Context) error {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: s.Pair.Client(), DisableKeepAlives: true}}
	for end := time.Now().Add(startPatience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		answer, err := client.Get(s.URL() + "/v2/")
		if err == nil {
			return answer.Body.Close()
		}
		select {
		case <-s.exited:
			return errors.New("it ended at once")
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
	}
	return errors.New("it does not answer")
}

// URL is where the server is.
func (s *Server) URL() string {
	if s.Pair != nil {
		return "https://" + s.Address
	}
	return "http://" + s.Address
}

// stopPatience is how long a server may take to stop.
const stopPatience = time.Minute

// Stop ends the server in an orderly way.
func (s *Server) Stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
		return nil
	case <-time.After(stopPatience):
		s.Kill()
		return fmt.Errorf("%s did not stop within %v", s.Program.Name, stopPatience)
	}
}

// Kill ends the server at once.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill()
	<-s.exited
}

// cleanEnv is the environment without what the servers would take for their
// settings.
func cleanEnv() (kept []string) {
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "BERTH_") && !strings.HasPrefix(v, "REGISTRY_") {
			kept = append(kept, v)
		}
	}
	return kept
}
