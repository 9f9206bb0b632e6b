package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-oci/berth/config"
)

// holds holds the lock of a data folder as a berth does that runs with it, until
// the test ends or stop is called.
func holds(t *testing.T, data string, environ ...string) (stop func()) {
	t.Helper()
	c, err := config.Load("", append(environ, "BERTH_DATA="+data, "BERTH_HTTP_OPEN=true"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	b := &berth{}
	if err := b.lock(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	closed := false
	stop = func() {
		if !closed {
			closed = true
			if err := b.close(); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	return stop
}

// TestAccountAddElsewhere wants add to say which registry it concerns, and to
// warn where that is hardly the one that is meant.
func TestAccountAddElsewhere(t *testing.T) {
	add := func(data string, args ...string) (out, warning string) {
		t.Helper()
		t.Setenv("BERTH_DATA", data)
		root := newRoot()
		var stdout, stderr bytes.Buffer
		root.SetArgs(append([]string{"account", "add", "--admin"}, args...))
		root.SetOut(&stdout)
		root.SetErr(&stderr)
		if err := root.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		return stdout.String(), stderr.String()
	}
	const closed = "The registry is closed from now on"
	// Nothing listens there.
	silent := httptest.NewServer(http.NotFoundHandler())
	silent.Close()
	t.Setenv("BERTH_HTTP_LISTEN", silent.Listener.Addr().String())

	none := t.TempDir()
	out, warning := add(none, "root")
	if strings.Contains(out, closed) || !strings.Contains(out, "No berth runs with "+none) || !strings.Contains(out, filepath.Join(none, "accounts.yaml")) ||
		!strings.Contains(warning, "no berth has run with the data folder "+none) {
		t.Errorf("where none has run: %s%s", out, warning)
	}

	stopped := t.TempDir()
	holds(t, stopped)()
	if out, warning = add(stopped, "root"); strings.Contains(out, closed) || !strings.Contains(out, "No berth runs with "+stopped) || warning != "" {
		t.Errorf("where one has run: %s%s", out, warning)
	}
	answering := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer answering.Close()
	t.Setenv("BERTH_HTTP_LISTEN", answering.Listener.Addr().String())
	if out, warning = add(stopped, "second"); !strings.Contains(warning, "answers at "+answering.Listener.Addr().String()+" does not run with the data folder "+stopped) {
		t.Errorf("where another one answers: %s%s", out, warning)
	}

	runs := t.TempDir()
	holds(t, runs)
	if out, warning = add(runs, "root"); !strings.Contains(out, closed) || warning != "" {
		t.Errorf("where one runs: %s%s", out, warning)
	}

	other, file := t.TempDir(), filepath.Join(t.TempDir(), "other.yaml")
	holds(t, other, "BERTH_ACCOUNTS_FILE="+file)
	if out, warning = add(other, "root"); strings.Contains(out, closed) || !strings.Contains(out, file) || !strings.Contains(warning, "uses another accounts file") || !strings.Contains(warning, file) {
		t.Errorf("where one runs with another file: %s%s", out, warning)
	}
	out, _ = add(other, "second", "--output", "json")
	var added struct{ File, Registry string }
	if err := json.Unmarshal([]byte(out), &added); err != nil || added.Registry != registryOther || added.File != filepath.Join(other, "accounts.yaml") {
		t.Errorf("as JSON: %v: %s", err, out)
	}
}
