package config

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// maxFile bounds the file: a configuration is a few kilobytes.
const maxFile = 1 << 20

// Load reads the configuration: the defaults, over them the file at path
// (none if path is empty), over that the variables of environ (see
// [os.Environ]) that begin with [EnvPrefix].
//
// The error holds everything that is wrong, one problem a line: the file and
// line, or the variable; the key; what is wrong; for an unknown key the
// nearest known one. Values are only checked for their type here: set what
// flags say, then call [Config.Validate].
func Load(path string, environ []string) (*Config, error) {
	c := defaults()
	var p problems
	if path != "" {
		text, err := read(path)
		if err != nil {
			// Without its file berth would start with other data than the
			// operator meant: nothing else is worth checking.
			return nil, err
		}
		(&file{c: c, table: c.table(), path: path, problems: &p}).load(text)
	}
	c.loadEnvironment(environ, &p)
	if err := p.join(); err != nil {
		return nil, err
	}
	return c, nil
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("configuration file: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, fmt.Errorf("configuration file: %s is a folder", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("configuration file: %w", err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("configuration file: %s is larger than %s", path, Size(maxFile))
	}
	return text, nil
}

// source is where a key was set, and to what.
type source struct {
	where string
	value string
}

// problems collects what is wrong, so that it is reported in one go.
type problems []error

func (p *problems) add(where, format string, args ...any) {
	if where != "" {
		where += ": "
	}
	*p = append(*p, fmt.Errorf("%s"+format, append([]any{where}, args...)...))
}

func (p *problems) join() error {
	// A file that was not meant for berth is wrong in every line.
	const most = 50
	if all := *p; len(all) > most {
		return errors.Join(append(all[:most:most], fmt.Errorf("and %d problems more", len(all)-most))...)
	}
	return errors.Join(*p...)
}
