package operation

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/berth-oci/berth/catalog/images/client"
	"github.com/berth-oci/berth/test/harness"
)

const hookSecret = "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY="

// hookReceiver notes the events that it takes.
type hookReceiver struct {
	url    string
	down   atomic.Bool
	mu     sync.Mutex
	events []client.Event // guarded by mu
	wrong  []error        // guarded by mu
}

func receiveHooks(t *testing.T) *hookReceiver {
	t.Helper()
	rec := &hookReceiver{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e, err := client.ReadEvent(r, hookSecret)
		rec.mu.Lock()
		defer rec.mu.Unlock()
		switch {
		case err != nil:
			rec.wrong = append(rec.wrong, err)
		case !rec.down.Load():
			rec.events = append(rec.events, e)
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(server.Close)
	rec.url = server.URL
	return rec
}

// told is what was taken, each event once.
func (rec *hookReceiver) told() (all []string) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	seen := map[string]bool{}
	for _, e := range rec.events {
		if seen[e.ID] {
			continue
		}
		seen[e.ID] = true
		text := string(e.Change.Type)
		for _, tag := range e.Change.Tags {
			text += " " + e.Change.Repository + ":" + tag.Name
		}
		if e.Change.Type == client.TypePush && len(e.Change.Tags) == 0 {
			continue // of a platform
		}
		all = append(all, text)
	}
	return all
}

// TestWebhooks: a receiver gets what its filter lets through, in order, though it is
// away for a while, berth is killed again and again, and the index is built anew;
// another one that is never there holds up nothing.
func TestWebhooks(t *testing.T) {
	t.Parallel()
	rec, dead := receiveHooks(t), receiveHooks(t)
	dead.down.Store(true)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(hookSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := harness.Start(t, harness.WithEnv("BERTH_EVENTS_INTERNAL_NETWORKS=127.0.0.0/8",
		"BERTH_EVENTS_WEBHOOKS_CI_URL="+rec.url, "BERTH_EVENTS_WEBHOOKS_CI_SECRET_FILE="+secret, "BERTH_EVENTS_WEBHOOKS_CI_NAMESPACES=alice,official",
		"BERTH_EVENTS_WEBHOOKS_DEAD_URL="+dead.url, "BERTH_EVENTS_WEBHOOKS_DEAD_SECRET="+hookSecret))
	want := []string{"resync"}
	wantTold := func() {
		t.Helper()
		defer func() {
			if t.Failed() {
				t.Errorf("told %q, want %q", rec.told(), want)
			}
		}()
		harness.Eventually(t, "not told everything", func() bool { return slices.Equal(rec.told(), want) })
	}
	wantTold()
	push := func(n int) {
		t.Helper()
		tag := "v" + strconv.Itoa(n)
		b.PutImage(t, "alice/app", tag, harness.NewImage("x", tag))
		b.PutImage(t, "bob/app", tag, harness.NewImage("x", tag))
		want = append(want, "push alice/app:"+tag)
	}
	for n := range 3 {
		push(n)
	}
	wantTold()
	rec.down.Store(true)
	push(3)
	for n := 4; n < 10; n++ {
		push(n)
		b.Kill()
		if n == 7 {
			rec.down.Store(false)
		}
		b.Restart()
	}
	b.Must(t, http.StatusAccepted, http.MethodDelete, "/v2/alice/app/manifests/v9", nil)
	want = append(want, "untag alice/app:v9")
	wantTold()
	metrics := harness.Metrics(t, b)
	for name, right := range map[string]func(string) bool{
		`berth_webhook_events_total{result="taken",webhook="ci"}`: func(s string) bool { return s != "" && s != "0" },
		`berth_webhook_behind{webhook="ci"}`:                      func(s string) bool { return s == "0" },
		`berth_webhook_failing_seconds{webhook="ci"}`:             func(s string) bool { return s == "0" },
		`berth_webhook_behind{webhook="dead"}`:                    func(s string) bool { return s == "-1" },
	} {
		if !right(metrics[name]) {
			t.Errorf("%s is %q", name, metrics[name])
		}
	}
	b.Stop()
	if err := os.Remove(filepath.Join(b.Data, "catalog.db")); err != nil {
		t.Fatal(err)
	}
	b.Restart()
	want = append(want, "resync")
	wantTold()
	push(10)
	wantTold()
	if log := b.Log.String(); !strings.Contains(log, "webhook=dead") || strings.Contains(log, hookSecret) {
		t.Errorf("logged\n%s", log)
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if len(rec.wrong) > 0 || len(dead.events) > 0 || len(dead.wrong) > 0 {
		t.Errorf("refused %v, %v", rec.wrong, dead.wrong)
	}
	last := rec.events[len(rec.events)-1].Change
	if len(last.Images) != 1 || !strings.HasPrefix(last.Images[0].URL, b.Host+"/alice/app@sha256:") || !slices.Equal(last.Images[0].Tags, []string{"v10"}) {
		t.Errorf("told %+v", last)
	}
}

// TestWebhooksRefused: berth does not start with a webhook that is none, and says
// which, without its secret.
func TestWebhooksRefused(t *testing.T) {
	t.Parallel()
	short := base64.StdEncoding.EncodeToString([]byte("short"))
	for _, test := range []struct{ url, secret, want string }{
		{"nonsense", hookSecret, "events.webhooks.x.url: does not begin with https://"},
		{"http://127.0.0.1:1/", hookSecret, "events.webhooks.x.url: leads inside the network; events.internal_networks"},
		{"https://receiver.example.com/", short, "events.webhooks.x.secret: is no secret of a webhook"},
		{"https://receiver.example.com/", "", "events.webhooks.x.secret: is missing"},
	} {
		for _, command := range [][]string{{"config", "check"}, {"serve", "--listen", "127.0.0.1:0"}} {
			stdout, stderr, code := harness.CommandLine(t, []string{"BERTH_EVENTS_WEBHOOKS_X_URL=" + test.url, "BERTH_EVENTS_WEBHOOKS_X_SECRET=" + test.secret}, append(command, "--data", t.TempDir())...)
			if code != 1 || stdout != "" || !strings.Contains(stderr, test.want) || test.secret != "" && strings.Contains(stderr, test.secret) {
				t.Errorf("%q: exited with %d and said %s%s", command, code, stdout, stderr)
			}
		}
	}
}
