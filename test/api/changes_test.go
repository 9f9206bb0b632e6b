package api

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
)

// lines follows the changes, and returns their objects as they come.
func lines(t *testing.T, b *harness.Berth, query string) <-chan map[string]any {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.URL+"/v1/changes?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "application/x-ndjson")
	a, err := http.DefaultClient.Do(r)
	if err != nil || a.StatusCode != http.StatusOK {
		t.Fatal(a, err)
	}
	objects := make(chan map[string]any, 100)
	go func() {
		defer close(objects)
		defer a.Body.Close()
		for scanner := bufio.NewScanner(a.Body); scanner.Scan(); {
			var o map[string]any
			if json.Unmarshal(scanner.Bytes(), &o) == nil {
				objects <- o
			}
		}
	}()
	return objects
}

// TestStreamOutlivesEverything: a stream in which nothing happens lasts for longer than
// any other request may, and ends with berth, which says so and does not wait for it.
func TestStreamOutlivesEverything(t *testing.T) {
	t.Parallel()
	b := harness.Start(t, harness.WithEnv("BERTH_HTTP_TIMEOUTS_STALL=1s", "BERTH_HTTP_TIMEOUTS_REQUEST=1s", "BERTH_HTTP_TIMEOUTS_IDLE=1s", "BERTH_HTTP_TIMEOUTS_READ_HEADER=1s"))
	objects := lines(t, b, "")
	want := func(what string) map[string]any {
		t.Helper()
		o := <-objects
		if o["type"] != what {
			t.Fatalf("%v, want %s", o, what)
		}
		return o
	}
	want("bookmark")
	time.Sleep(4 * time.Second)
	harness.PushSmall(t, b, "alice/app", "a", "2026-01-01T00:00:00Z", "v1")
	want("push")
	last := want("tag")
	if err := b.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	end := want("end")
	if end["reason"] != "shutdown" || end["revision"] != last["revision"] {
		t.Errorf("%v", end)
	}
	if o, more := <-objects; more {
		t.Errorf("it goes on: %v", o)
	}
	<-b.Exited
	b.Restart()
	// What it has missed is none, and what comes it gets.
	objects = lines(t, b, "since="+last["revision"].(string))
	want("bookmark")
	b.Must(t, http.StatusAccepted, http.MethodDelete, "/v2/alice/app/manifests/v1", nil)
	if o := want("untag"); strings.Contains(b.Log.String(), "built anew") {
		t.Errorf("%v\n%s", o, b.Log)
	}
}
