package server

import (
	"fmt"
	"os"
	"sync"
)

// LogFile is a file that the log is appended to, and that can be opened again
// after it was moved away. It is safe for concurrent use.
type LogFile struct {
	path string

	mu   sync.Mutex
	file *os.File // guarded by mu
}

// OpenLogFile opens a file for appending, and makes it readable by its owner
// only if it is new.
func OpenLogFile(path string) (*LogFile, error) {
	l := &LogFile{path: path}
	return l, l.Reopen()
}

// Reopen opens the file at the path again. If that fails, the one that is open
// stays in use.
func (l *LogFile) Reopen() error {
	f, err := os.OpenFile(l.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("log file: %w", err)
	}
	l.mu.Lock()
	old := l.file
	l.file = f
	l.mu.Unlock()
	if old != nil {
		_ = old.Close() // every line was written at once
	}
	return nil
}

// Write implements io.Writer.
func (l *LogFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Write(p)
}

// Close closes the file.
func (l *LogFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}
