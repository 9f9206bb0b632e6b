package client_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-oci/berth/catalog/images/client"
	"github.com/berth-oci/berth/test/harness"
)

// mirror is a Watcher that runs, and what its handlers were told.
type mirror struct {
	*client.Watcher
	mu      sync.Mutex
	told    map[string]client.Image // guarded by mu
	wrong   []string                // guarded by mu
	retries []error                 // guarded by mu
	ended   chan error
}

func watch(t *testing.T, c *client.Client, o client.WatchOptions) *mirror {
	t.Helper()
	m := &mirror{told: map[string]client.Image{}, ended: make(chan error, 1)}
	note := func(kind string, before, now *client.Image) {
		m.mu.Lock()
		defer m.mu.Unlock()
		of := now
		if of == nil {
			of = before
		}
		known, there := m.told[of.UUID]
		if there != (before != nil) || there && kind == "update" && (!reflect.DeepEqual(known, *before) || reflect.DeepEqual(known, *now)) {
			m.wrong = append(m.wrong, kind+" of "+of.URL)
		}
		delete(m.told, of.UUID)
		if now != nil {
			m.told[of.UUID] = *now
		}
	}
	o.OnAdd = func(i client.Image) { note("add", nil, &i) }
	o.OnUpdate = func(before, now client.Image) { note("update", &before, &now) }
	o.OnDelete = func(i client.Image) { note("delete", &i, nil) }
	o.OnRetry = func(err error, _ time.Duration) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.retries = append(m.retries, err)
		return nil
	}
	m.Watcher = c.Watch(o)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { m.ended <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-m.ended; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	})
	return m
}

// wantList waits until what is shown is the list, and handlers were told that.
func (m *mirror) wantList(t *testing.T, c *client.Client, o client.ListOptions) {
	t.Helper()
	var list, shown, told map[string]client.Image
	defer func() {
		if t.Failed() {
			t.Errorf("listed %v\nshown %v\ntold %v", list, shown, told)
		}
	}()
	harness.Eventually(t, "the copy is not the list", func() bool {
		list, shown = map[string]client.Image{}, map[string]client.Image{}
		for image, err := range c.List(t.Context(), o) {
			if err != nil {
				t.Fatal(err)
			}
			list[image.UUID] = image
		}
		for _, image := range m.Images() {
			shown[image.UUID] = image
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		told = maps.Clone(m.told)
		return reflect.DeepEqual(list, shown) && reflect.DeepEqual(list, told)
	})
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.wrong) > 0 {
		t.Errorf("told what cannot be: %v", m.wrong)
	}
}

// TestWatch keeps a copy through pushes, moved tags and deletions, while berth is
// stopped, killed, and has its index built anew.
func TestWatch(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	c := newClient(t, b)
	namespaces := []string{"alice", "official"}
	listed := client.ListOptions{Namespaces: namespaces}
	first := harness.PushSmall(t, b, "alice/app", "0", "2026-01-01T00:00:00Z", "latest", "v0")
	m := watch(t, c, client.WatchOptions{Namespaces: namespaces})
	if err := m.WaitForSync(t.Context()); err != nil || !m.HasSynced() {
		t.Fatal(err)
	}
	m.wantList(t, c, listed)
	change := func(n int) {
		t.Helper()
		created := time.Date(2026, 1, 1, 0, 0, n, 0, time.UTC).Format(time.RFC3339)
		harness.PushSmall(t, b, "alice/app", fmt.Sprint(n), created, "latest", fmt.Sprint("v", n)) // moves latest
		harness.PushSmall(t, b, "bob/app", fmt.Sprint(n), created, "latest")                       // is none of ours
		harness.PushSmall(t, b, "official/nginx", fmt.Sprint(n), created, fmt.Sprint("v", n))
		b.Must(t, http.StatusAccepted, http.MethodDelete, fmt.Sprintf("/v2/alice/app/manifests/v%d", n-1), nil)
		gone := harness.PushSmall(t, b, "alice/gone", fmt.Sprint(n), created, "latest")
		b.Must(t, http.StatusAccepted, http.MethodDelete, "/v2/alice/gone/manifests/"+gone.Digest, nil)
	}
	for n, disturb := range []func(){
		func() {},
		func() { b.Stop(); b.Restart() },
		func() { b.Kill(); b.Restart() },
		func() { // what happens while nobody follows is noticed too
			b.Stop()
			for _, file := range []string{"catalog.db"} {
				if err := os.Remove(filepath.Join(b.Data, file)); err != nil {
					t.Fatal(err)
				}
			}
			b.Restart()
			harness.PushSmall(t, b, "alice/app", "while away", "2026-02-01T00:00:00Z", "away")
		},
	} {
		change(2*n + 1)
		disturb()
		change(2*n + 2)
		m.wantList(t, c, listed)
	}
	if got, ok := m.Get("alice/app@" + first.Digest); !ok || len(got.Tags) != 0 {
		t.Errorf("the first is %+v", got)
	}
	for _, name := range []string{"alice/app", "alice/app:v8", "alice/app:away", "nginx:v3", "official/nginx:v3"} {
		want, err := c.Get(t.Context(), name)
		if got, ok := m.Get(name); err != nil || !ok || got.UUID != want.UUID {
			t.Errorf("%s is %s, want %s, %v", name, got.URL, want.URL, err)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.ContainsFunc(m.retries, client.IsGone) {
		t.Errorf("of the index that was built anew nothing was said: %v", m.retries)
	}
}

// TestChangesKilled: each push that was answered is told, in the order of the pushes,
// however often berth is killed.
func TestChangesKilled(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	c := newClient(t, b)
	kills := harness.Rounds("crash", 4, 40)
	pushes := 8 * kills
	since, err := c.Revision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pushed := make(chan []string)
	var mu sync.Mutex // held while berth is not there
	go func() {
		var digests []string
		for n := range pushes {
			mu.Lock()
			digest, err := b.Push("alice/app", "latest", harness.NewImage("x", fmt.Sprint(n)))
			mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			digests = append(digests, digest)
		}
		pushed <- digests
	}()
	seen, kill := []string{}, 0
	previous := ""
	for change, err := range c.Changes(t.Context(), client.ChangesOptions{Since: since, Repositories: []string{"alice/app"}}) {
		if err != nil {
			t.Fatal(err)
		}
		if change.Type == client.TypeBookmark {
			continue
		}
		for _, tag := range change.Tags {
			if tag.Name != "latest" || tag.Previous != previous || tag.Digest != change.Digest {
				t.Errorf("after %q came %+v", previous, change)
			}
			previous = tag.Digest
			seen = append(seen, tag.Digest)
		}
		if len(seen) == pushes {
			break
		}
		if len(seen) >= (kill+1)*pushes/(kills+1) && kill < kills {
			mu.Lock()
			b.Kill()
			b.Restart()
			mu.Unlock()
			kill++
		}
	}
	if want := <-pushed; !slices.Equal(seen, want) || kill != kills {
		t.Errorf("saw %v, want %v; %d kills", seen, want, kill)
	}
}

// TestChangesRefused: what cannot be followed is one error, of its kind.
func TestChangesRefused(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	c := newClient(t, b)
	now, err := c.Revision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	start, _, _ := strings.Cut(now, ".")
	for name, test := range map[string]struct {
		o      client.ChangesOptions
		status int
	}{
		"another start":     {client.ChangesOptions{Since: "0000000000000001.0"}, http.StatusGone},
		"the future":        {client.ChangesOptions{Since: start + ".999999"}, http.StatusGone},
		"no revision":       {client.ChangesOptions{Since: "yesterday"}, http.StatusBadRequest},
		"no type":           {client.ChangesOptions{Types: []client.ChangeType{"pushed"}}, http.StatusBadRequest},
		"no namespace":      {client.ChangesOptions{Namespaces: []string{"Alice"}}, http.StatusBadRequest},
		"both of two kinds": {client.ChangesOptions{Since: now, Initial: true, Namespaces: []string{"A"}}, http.StatusBadRequest},
	} {
		var e *client.Error
		for _, err := range c.Changes(t.Context(), test.o) {
			if !errors.As(err, &e) || e.Status != test.status || client.IsGone(err) != (test.status == http.StatusGone) {
				t.Errorf("%s: %v", name, err)
			}
			break
		}
	}
}

// TestController runs the example against a berth.
func TestController(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	alice := harness.AddAccount(t, b, "alice")
	as := &harness.Berth{Client: alice.On(b), Host: b.Host}
	one := harness.PushSmall(t, as, "alice/app", "one", "2026-01-01T00:00:00Z", "latest")
	berth := newClient(t, b, client.WithToken(client.Token(alice.Bearer)))
	out := &harness.LogBuffer{}
	said := func() []string { return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n") }
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- (&controller{out, map[string]string{}}).run(ctx, berth, "alice")
	}()
	says := func(want ...string) {
		t.Helper()
		harness.Eventually(t, fmt.Sprintf("it does not say %q", want), func() bool {
			all := slices.DeleteFunc(said(), func(s string) bool { return strings.HasSuffix(s, " are running") })
			return slices.Equal(all, want)
		})
	}
	at := b.Host + "/alice/app@"
	started := "start " + at + one.Digest + " [/app one] with 6 bytes of kernel"
	says(started)
	two := harness.PushSmall(t, as, "alice/app", "two", "2026-01-02T00:00:00Z") // without a tag
	b.Stop()
	b.Restart()
	as.Must(t, http.StatusAccepted, http.MethodDelete, "/v2/alice/app/manifests/"+one.Digest, nil)
	stopped := "stop " + at + one.Digest
	says(started, stopped)
	as.PutManifest(t, "alice/app", "v2", harness.OCIManifest, as.Get(t, "/v2/alice/app/manifests/"+two.Digest, harness.OCIManifest))
	says(started, stopped, "start "+at+two.Digest+" [/app two] with 6 bytes of kernel")
	as.Must(t, http.StatusAccepted, http.MethodDelete, "/v2/alice/app/manifests/v2", nil)
	says(started, stopped, "start "+at+two.Digest+" [/app two] with 6 bytes of kernel", "stop "+at+two.Digest)
	if !slices.Contains(said(), "1 are running") {
		t.Errorf("said %q", said())
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
