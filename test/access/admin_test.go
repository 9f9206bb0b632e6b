package access

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
)

// TestHarbor deletes whole repositories as the legacy client does.
func TestHarbor(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	alice, bob := harness.AddAccount(t, b, "alice", "--quota", "1MiB"), harness.AddAccount(t, b, "bob")
	reader := harness.AddToken(t, b, "alice", "reader", "--read-only")
	c := alice.On(b)
	for _, project := range []string{"alice", harness.RobotName("alice"), "robot%24alice.users.kraftcloud"} {
		t.Run(project, func(t *testing.T) {
			app, deep := harness.NewSizedImage("h", "app", 1000), harness.NewSizedImage("h", "deep", 2000)
			c.PutImage(t, "alice/app", "v1", app)
			c.PutImage(t, "alice/app", "v2", app)
			c.PutImage(t, "alice/app", "v3", harness.NewSizedImage("h", "more", 500))
			kept := c.PutImage(t, "alice/deep/er", "v1", deep)
			path := "/api/v2.0/projects/" + project + "/repositories/"

			for _, refused := range []struct {
				who    harness.Account
				status int
			}{{bob, http.StatusForbidden}, {reader, http.StatusForbidden}, {alice.Wrong(), http.StatusUnauthorized}, {harness.Account{}, http.StatusUnauthorized}} {
				who := refused.who.On(b)
				if refused.who.Name == "" {
					who = harness.NewClient(b.URL)
				}
				wantStatus(t, who, refused.status, http.MethodDelete, path+"app", nil)
			}
			wantStatus(t, c, http.StatusOK, http.MethodDelete, path+"app", nil)
			harness.WantOnly(t, c, "alice/deep/er@"+kept)
			wantStatus(t, c, http.StatusNotFound, http.MethodGet, "/v2/alice/app/manifests/v1", nil)
			wantUsed(t, b, alice, counted(once("alice/deep/er", deep))+least, 1<<20, 1, least) // and the link of alice/app to the kernel
			wantStatus(t, c, http.StatusNotFound, http.MethodDelete, path+"app", nil)
			// A slash is encoded, and what comes of it once more.
			wantStatus(t, c, http.StatusOK, http.MethodDelete, path+"deep%252Fer", nil)
			harness.WantOnly(t, c)
			wantUsed(t, b, alice, 0, 1<<20, 0)
		})
	}
	there := wantStatus(t, bob.On(b), http.StatusNotFound, http.MethodGet, "/api/v2.0/projects/alice/summary", nil)
	absent := wantStatus(t, bob.On(b), http.StatusNotFound, http.MethodGet, "/api/v2.0/projects/carol/summary", nil)
	if withoutID(there.Body) != withoutID(absent.Body) {
		t.Errorf("another's project and none differ: %s, %s", there.Body, absent.Body)
	}

	// It is gone from storage, not only from the index.
	b.Stop()
	harness.RemoveIndex(t, b)
	b.Restart()
	harness.WantOnly(t, c)
	wantUsed(t, b, alice, 0, 1<<20, 0)
}

// withoutID cuts the ID of the request off a message.
func withoutID(body []byte) string {
	before, _, _ := strings.Cut(string(body), " (request ")
	return before
}

// TestAdministrator sees whose an image is and who may pull it; others
// do not.
func TestAdministrator(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	root, alice := harness.AddAccount(t, b, "root", "--admin"), harness.AddAccount(t, b, "alice")
	bob := harness.AddAccount(t, b, "bob")
	harness.AccountCommand(t, b, nil, "grant", "bob", "read", "alice/shared")
	harness.AccountCommand(t, b, nil, "grant", "alice", "write", "team")
	image := harness.NewImage("admin", "one")
	for _, repository := range []string{"alice/app", "alice/shared", "team/app"} {
		alice.On(b).PutImage(t, repository, "v1", image)
	}
	root.On(b).PutImage(t, "official/app", "v1", image)
	root.On(b).PutImage(t, "bob/made", "v1", image) // an administrator may

	type seen struct {
		URL   string
		Owner *string
		Users []string
	}
	images := func(who harness.Account) map[string]seen {
		t.Helper()
		a := wantStatus(t, who.On(b), http.StatusOK, http.MethodGet, "/v1/images", nil)
		var answer struct{ Data struct{ Images []seen } }
		if err := json.Unmarshal(a.Body, &answer); err != nil {
			t.Fatal(err)
		}
		all := map[string]seen{}
		for _, image := range answer.Data.Images {
			name, _, _ := strings.Cut(strings.TrimPrefix(image.URL, b.Host+"/"), "@")
			all[name] = image
		}
		return all
	}
	all := images(root)
	for name, want := range map[string]struct {
		owner string
		users []string
	}{
		"alice/app":    {"alice", []string{"alice", "root"}},
		"alice/shared": {"alice", []string{"alice", "bob", "root"}},
		"team/app":     {"team", []string{"alice", "root"}},
		"app":          {"official", []string{"alice", "bob", "root"}},
		"bob/made":     {"bob", []string{"bob", "root"}},
	} {
		got, ok := all[name]
		if !ok || got.Owner == nil || *got.Owner != want.owner || !slices.Equal(got.Users, want.users) {
			t.Errorf("an administrator sees %s (%t) with %+v, want %+v", name, ok, got, want)
		}
	}
	if len(all) != 5 {
		t.Errorf("an administrator sees %d images", len(all))
	}
	for who, want := range map[harness.Account][]string{
		alice: {"alice/app", "alice/shared", "app", "team/app"},
		bob:   {"alice/shared", "app", "bob/made"},
	} {
		var names []string
		for name, image := range images(who) {
			names = append(names, name)
			if image.Owner != nil || image.Users != nil {
				t.Errorf("%s sees %+v", who.Name, image)
			}
		}
		if slices.Sort(names); !slices.Equal(names, want) {
			t.Errorf("%s sees %v, want %v", who.Name, names, want)
		}
	}
}

// event is a line of the audit log.
type event struct {
	Time                                                                     time.Time
	Account, Token, Client, Request, Action, Repository, Tag, Digest, Detail string
	Status                                                                   int
}

// readAudit reads the audit log, in which each line must be an event.
func readAudit(t testing.TB, path string) (events []event, text string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(content) {
		var e event
		harness.DecodeStrictly(t, line, &e)
		events = append(events, e)
	}
	return events, string(content)
}

// TestAudit wants a line for everything that was changed or refused,
// and no secret in any.
func TestAudit(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	b := harness.Start(t, harness.WithEnv("BERTH_AUDIT_FILE="+path))
	begun := time.Now().Add(-time.Second)
	root := harness.AddAccount(t, b, "root", "--admin")
	alice := harness.AddAccount(t, b, "alice", "--quota", "64KiB", "--label", "laptop")
	reader := harness.AddToken(t, b, "alice", "reader", "--read-only")
	bob := harness.AddAccount(t, b, "bob")
	image, c := harness.NewImage("audit", "one"), alice.On(b)
	child, index := harness.Digest(image.Manifest), c.PutImage(t, "alice/app", "v1", image)
	root.On(b).PutImage(t, "tools", "v1", image) // stored as official/tools
	c.PutImage(t, "alice/gone", "v1", image)
	wantStatus(t, c, http.StatusAccepted, http.MethodDelete, "/v2/alice/app/manifests/v1", nil)
	wantStatus(t, c, http.StatusAccepted, http.MethodDelete, "/v2/alice/app/manifests/"+index, nil)
	wantStatus(t, c, http.StatusOK, http.MethodDelete, "/api/v2.0/projects/alice/repositories/gone", nil)
	put := func(c *harness.Client, status int, repository string) {
		t.Helper()
		wantStatus(t, c, status, http.MethodPut, "/v2/"+repository+"/manifests/v2", image.Manifest, "Content-Type", harness.OCIManifest)
	}
	put(bob.On(b), http.StatusForbidden, "alice/app")
	put(reader.On(b), http.StatusForbidden, "alice/app")
	put(bob.Wrong().On(b), http.StatusUnauthorized, "alice/app")
	put(harness.ClientAs(b, "Bearer "+bob.Secret), http.StatusUnauthorized, "alice/app")
	if _, err := c.Push("alice/large", "v1", harness.NewSizedImage("audit", "large", 70<<10)); err == nil {
		t.Error("the quota is not kept")
	}

	events, text := readAudit(t, path)
	wanted := func(want event, details ...string) {
		t.Helper()
		found := slices.IndexFunc(events, func(e event) bool {
			for _, d := range details {
				if !strings.Contains(e.Detail, d) {
					return false
				}
			}
			ok := e.Time.After(begun) && strings.HasPrefix(e.Client, "127.0.0.1:") && e.Request != ""
			e.Time, e.Client, e.Request, e.Detail = time.Time{}, "", "", ""
			return ok && e == want
		})
		if found < 0 {
			t.Errorf("the audit log has no line for %+v %q:\n%s", want, details, text)
			return
		}
		events = slices.Delete(events, found, found+1)
	}
	for _, p := range []struct{ account, token, repository string }{
		{"alice", "laptop", "alice/app"}, {"root", "default", "official/tools"}, {"alice", "laptop", "alice/gone"},
	} {
		push := event{Account: p.account, Token: p.token, Action: "push", Repository: p.repository, Status: 201}
		push.Digest = child
		wanted(push)
		push.Tag, push.Digest = "v1", index
		wanted(push)
	}
	deleted := event{Account: "alice", Token: "laptop", Action: "delete", Repository: "alice/app", Status: 202}
	deleted.Tag = "v1"
	wanted(deleted)
	deleted.Tag, deleted.Digest = "", index
	wanted(deleted)
	wanted(event{Account: "alice", Token: "laptop", Action: "delete", Repository: "alice/gone", Status: 200})
	refused := event{Account: "bob", Token: "default", Action: "refused", Repository: "alice/app", Tag: "v2", Status: 403}
	wanted(refused, "DENIED")
	refused.Account, refused.Token = "alice", "reader"
	wanted(refused, "DENIED", "only read")
	refused.Account, refused.Token, refused.Status = "", "", 401
	wanted(refused, "UNAUTHORIZED")
	wanted(refused, "UNAUTHORIZED")
	wanted(event{Account: "alice", Token: "laptop", Action: "refused", Repository: "alice/large", Status: 403}, "DENIED", "exceed")
	for _, e := range events {
		if e.Repository != "" {
			t.Errorf("a line too many: %+v", e)
		}
	}
	harness.WantNoSecrets(t, map[string]string{"the audit log": text, "the log": b.Log.String()}, root, alice, reader, bob)
	harness.WantNoSecrets(t, map[string]string{"the metrics": string(b.Get(t, "/metrics", ""))}, root, alice, reader, bob)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the audit log can be read by others: %v, %v", info.Mode(), err)
	}
}

// TestAuditOfCommands wants a line for every change of the accounts.
func TestAuditOfCommands(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	b := harness.Start(t, harness.WithEnv("BERTH_AUDIT_FILE="+path))
	alice := harness.AddAccount(t, b, "alice")
	ci := harness.AddToken(t, b, "alice", "ci")
	harness.AccountCommand(t, b, nil, "grant", "alice", "read", "team")
	harness.AccountCommand(t, b, nil, "revoke", "alice", "read", "team")
	harness.AccountCommand(t, b, nil, "token", "revoke", "alice", "ci")
	harness.AccountCommand(t, b, nil, "remove", "alice", "--yes")
	events, text := readAudit(t, path)
	if len(events) != 6 {
		t.Errorf("six changes left %d lines:\n%s", len(events), text)
	}
	for _, e := range events {
		if e.Action == "" || e.Time.IsZero() || !strings.Contains(e.Account+e.Detail, "alice") {
			t.Errorf("says little: %+v", e)
		}
	}
	harness.WantNoSecrets(t, map[string]string{"the audit log": text}, alice, ci)
}
