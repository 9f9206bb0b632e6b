package peers

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Syncs are the calls that wait for the disk.
type Syncs struct {
	Files       int `json:"files"`        // fsync and fdatasync of a file
	Folders     int `json:"folders"`      // fsync of a folder
	FileSystems int `json:"file_systems"` // syncfs and sync
}

// Total counts all.
func (s Syncs) Total() int { return s.Files + s.Folders + s.FileSystems }

// String says how many there were.
func (s Syncs) String() string {
	return fmt.Sprintf("%d (files %d, folders %d, whole file systems %d)", s.Total(), s.Files, s.Folders, s.FileSystems)
}

// Syncs counts the calls that the server makes while op runs. The error is
// ErrNotInstalled where strace is not installed.
func (s *Server) Syncs(ctx context.Context, op func() error) (Syncs, error) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		return Syncs{}, fmt.Errorf("strace: %w", ErrNotInstalled)
	}
	trace, err := os.CreateTemp(s.Data, "trace")
	if err != nil {
		return Syncs{}, err
	}
	defer os.Remove(trace.Name())
	defer trace.Close()
	cmd := exec.CommandContext(ctx, strace, "-f", "-y", "-o", trace.Name(),
		"-e", "trace=fsync,fdatasync,syncfs,sync", "-p", strconv.Itoa(s.cmd.Process.Pid))
	said, err := cmd.StderrPipe()
	if err != nil {
		return Syncs{}, err
	}
	if err := cmd.Start(); err != nil {
		return Syncs{}, err
	}
	if err := attached(said); err != nil {
		return Syncs{}, errors.Join(err, cmd.Wait())
	}
	err = op()
	time.Sleep(100 * time.Millisecond) // what a server syncs after its answer counts too
	_ = cmd.Process.Signal(os.Interrupt)
	_ = cmd.Wait() // it ends by the signal
	if err != nil {
		return Syncs{}, err
	}
	lines, err := os.ReadFile(trace.Name())
	if err != nil {
		return Syncs{}, err
	}
	return countSyncs(lines, isFolder), nil
}

// attached waits until strace says that it sees the process, and lets it say on.
func attached(said interface{ Read([]byte) (int, error) }) error {
	lines := bufio.NewScanner(said)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "attached") {
			go func() {
				for lines.Scan() {
				}
			}()
			return nil
		}
		if strings.Contains(lines.Text(), "Operation not permitted") || strings.Contains(lines.Text(), "ptrace") {
			return fmt.Errorf("strace: %s", lines.Text())
		}
	}
	return errors.New("strace: it ended without a word")
}

// syncCall is the beginning of a call in a trace with the paths of descriptors:
// "7 fsync(3</a/b>". That of one that is resumed has no parenthesis after its
// name.
var syncCall = regexp.MustCompile(`(?m)^\d+ +(fsync|fdatasync|syncfs|sync)\((?:\d+<([^>\n]*)>)?`)

func countSyncs(trace []byte, isFolder func(path string) bool) (s Syncs) {
	for _, m := range syncCall.FindAllSubmatch(trace, -1) {
		switch path := string(bytes.TrimSuffix(m[2], []byte(" (deleted)"))); {
		case strings.HasSuffix(string(m[1]), "sync") && string(m[1][0]) == "f" && isFolder(path):
			s.Folders++
		case m[1][0] == 'f':
			s.Files++
		default:
			s.FileSystems++
		}
	}
	return s
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
