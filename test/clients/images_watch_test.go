package clients

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// listAgain is the exit status for changes that are not known any more.
const listAgain = 7

// watching is berth images watch, as it runs.
type watching struct {
	t      *testing.T
	cmd    *exec.Cmd
	out    harness.LogBuffer
	errs   harness.LogBuffer
	exited chan struct{}
}

func startWatch(t *testing.T, env []string, args ...string) *watching {
	t.Helper()
	w := &watching{t: t, exited: make(chan struct{})}
	w.cmd = exec.CommandContext(harness.TestContext(t), harness.Binary(t), append([]string{"images", "watch"}, args...)...)
	w.cmd.Env = append([]string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}, env...)
	w.cmd.Stdout, w.cmd.Stderr = &w.out, &w.errs
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = w.cmd.Wait()
		close(w.exited)
	}()
	harness.Eventually(t, "it does not begin to watch", func() bool { return strings.Contains(w.errs.String(), "Watching ") })
	return w
}

// shows waits until something is printed.
func (w *watching) shows(text string) {
	w.t.Helper()
	harness.Eventually(w.t, text+" is not printed", func() bool {
		if strings.Contains(w.out.String(), text) {
			return true
		}
		select {
		case <-w.exited:
			w.t.Fatalf("ended with %d before it printed %s:\n%s%s", w.cmd.ProcessState.ExitCode(), text, &w.out, &w.errs)
		default:
		}
		return false
	})
}

// interrupt ends it as Ctrl-C does.
func (w *watching) interrupt() {
	w.t.Helper()
	_ = w.cmd.Process.Signal(os.Interrupt)
	<-w.exited
	if code := w.cmd.ProcessState.ExitCode(); code != done || !strings.Contains(w.errs.String(), "To go on from here: --since ") {
		w.t.Errorf("exited with %d and said %s", code, &w.errs)
	}
}

type toldChange struct {
	Type, Revision, Repository, Digest, By string
	Tags                                   []struct{ Name, Digest, Previous string }
	Images                                 []struct{ URL string }
}

func decoded(t *testing.T, lines string) (all []toldChange) {
	t.Helper()
	for decoder := json.NewDecoder(bytes.NewReader([]byte(lines))); decoder.More(); {
		var c toldChange
		if err := decoder.Decode(&c); err != nil {
			t.Fatalf("%v in %s", err, lines)
		}
		all = append(all, c)
	}
	return all
}

// TestImagesWatch prints what happens to those who may see it, as text and as JSON,
// through a restart of berth.
func TestImagesWatch(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	alice, bob := harness.AddAccount(t, b, "alice"), harness.AddAccount(t, b, "bob")
	as := &harness.Berth{Client: alice.On(b), Host: b.Host}
	env := func(who harness.Account) []string {
		return []string{"BERTH_HOST=" + b.Host, "BERTH_TOKEN=" + who.Bearer}
	}
	text := startWatch(t, env(alice))
	others := startWatch(t, env(bob))
	tags := startWatch(t, env(alice), "alice/app", "--type", "tag", "--type", "untag", "--output", "json")
	one := harness.PushSmall(t, as, "alice/app", "one", "2026-01-01T00:00:00Z", "v1", "latest")
	text.shows("alice/app@" + one.Digest[:19] + "  +latest  by alice\n")
	b.Stop()
	b.Restart()
	harness.PushSmall(t, &harness.Berth{Client: bob.On(b), Host: b.Host}, "bob/app", "two", "2026-01-01T00:00:00Z", "v1")
	others.shows("  +v1  by bob\n")
	as.Must(t, http.StatusAccepted, http.MethodDelete, "/v2/alice/app/manifests/v1", nil)
	as.Must(t, http.StatusAccepted, http.MethodDelete, "/v2/alice/app/manifests/"+one.Digest, nil)
	text.shows("  -v1  by alice\n")
	text.shows("delete  alice/app@" + one.Digest[:19] + "  -latest  by alice\n")
	tags.shows(`"untag"`)
	for _, w := range []*watching{text, others, tags} {
		w.interrupt()
	}
	if strings.Contains(text.out.String(), "bob") || strings.Contains(others.out.String(), "alice") {
		t.Errorf("alice saw %s, and bob %s", &text.out, &others.out)
	}
	if said := text.errs.String(); !strings.Contains(said, "trying again in ") {
		t.Errorf("of the restart it said %s", said)
	}
	seen := decoded(t, tags.out.String())
	for i, c := range slices.DeleteFunc(seen, func(c toldChange) bool { return c.Type == "bookmark" }) {
		want := []string{"tag v1 " + one.Digest, "tag latest " + one.Digest, "untag v1 "}
		if c.Repository != "alice/app" || len(c.Tags) != 1 || i >= len(want) || c.Type+" "+c.Tags[0].Name+" "+c.Tags[0].Digest != want[i] {
			t.Errorf("%d: %+v", i, c)
		}
	}
}

// TestImagesWatchResumes: runs that each print one change, one after the other, print
// all of them.
func TestImagesWatchResumes(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	env := []string{"BERTH_HOST=" + b.Host}
	since := b.Must(t, http.StatusOK, http.MethodGet, "/v1/images", nil).Header.Get("Berth-Revision")
	var want, got []string
	for n := range 4 {
		small := harness.PushSmall(t, b, "alice/app", fmt.Sprint(n), "2026-01-01T00:00:00Z")
		want = append(want, small.Digest)
	}
	for range want {
		for _, c := range decoded(t, wantImages(t, env, done, "", "watch", "--since", since, "--count", "1", "--output", "json")) {
			if since = c.Revision; c.Type == "push" {
				got = append(got, c.Digest)
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestImagesWatchInitial lists first, and again where the index is another one; who
// began elsewhere is told by the exit status.
func TestImagesWatchInitial(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	env := []string{"BERTH_HOST=" + b.Host}
	one := harness.PushSmall(t, b, "alice/app", "one", "2026-01-01T00:00:00Z", "v1")
	initial := startWatch(t, env, "--initial")
	since := startWatch(t, env)
	initial.shows("image   alice/app@" + one.Digest[:19] + "  v1\n")
	b.Stop()
	if err := os.Remove(filepath.Join(b.Data, "catalog.db")); err != nil {
		t.Fatal(err)
	}
	b.Restart()
	harness.Eventually(t, "the list is not printed again", func() bool {
		return strings.Count(initial.out.String(), one.Digest[:19]) == 2
	})
	harness.PushSmall(t, b, "alice/app", "two", "2026-01-01T00:00:00Z", "v2")
	initial.shows("+v2")
	initial.interrupt()
	if !strings.Contains(initial.errs.String(), "listing again") {
		t.Errorf("said %s", &initial.errs)
	}
	<-since.exited
	if code := since.cmd.ProcessState.ExitCode(); code != listAgain || !strings.Contains(since.errs.String(), "list again") {
		t.Errorf("exited with %d and said %s", code, &since.errs)
	}
}

// TestImagesWatchRefused: what cannot be watched says why, by its exit status too.
func TestImagesWatchRefused(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	env := []string{"BERTH_HOST=" + b.Host}
	wantImages(t, env, listAgain, "list again", "watch", "--since", "0000000000000001.7")
	wantImages(t, env, failed, "is no revision", "watch", "--since", "yesterday")
	wantImages(t, env, failed, "is no type of a change", "watch", "--type", "pushed")
	wantImages(t, env, usage, "give one of them", "watch", "--since", "0000000000000001.7", "--initial")
	wantImages(t, env, usage, "is less than 0", "watch", "--count", "-1")
	wantImages(t, env, usage, "is no namespace or repository", "watch", "Alice")
	wantImages(t, env, usage, "is no namespace or repository", "watch", "--repository", "a:v1")
	wantImages(t, env, usage, "neither text nor json", "watch", "--output", "yaml")
	for _, how := range [][]string{nil, {"--initial"}, {"--since", "0000000000000001.7"}} {
		wantImages(t, []string{"BERTH_HOST=" + harness.FreeAddress(t)}, unavailable, "connection refused", append([]string{"watch"}, how...)...)
	}
	alice := harness.AddAccount(t, b, "alice")
	wantImages(t, env, denied, "an account is wanted", "watch")
	wantImages(t, []string{"BERTH_HOST=" + b.Host, "BERTH_TOKEN=" + alice.Wrong().Bearer}, denied, "berth answers 401", "watch", "--initial")
	for status, code := range map[int]int{http.StatusNotFound: notFound, http.StatusInternalServerError: unavailable, http.StatusTooManyRequests: unavailable, http.StatusForbidden: denied, http.StatusOK: failed} {
		other := faulty(t, b, func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(status)
			_, _ = w.Write([]byte("<html>"))
			return true
		})
		wantImages(t, []string{"BERTH_HOST=" + other}, code, other, "watch", "--since", "0000000000000001.7")
	}
}
