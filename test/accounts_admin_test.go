package test

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
)

// TestAccountsHarbor deletes whole repositories as the legacy client does.
func TestAccountsHarbor(t *testing.T) {
	t.Parallel()
	b := start(t)
	alice, bob := accountsAdd(t, b, "alice", "--quota", "1MiB"), accountsAdd(t, b, "bob")
	reader := accountsToken(t, b, "alice", "reader", "--read-only")
	c := alice.on(b)
	for _, project := range []string{"alice", accountsRobot("alice"), "robot%24alice.users.kraftcloud"} {
		t.Run(project, func(t *testing.T) {
			app, deep := accountsImage("h", "app", 1000), accountsImage("h", "deep", 2000)
			c.putImage(t, "alice/app", "v1", app)
			c.putImage(t, "alice/app", "v2", app)
			c.putImage(t, "alice/app", "v3", accountsImage("h", "more", 500))
			kept := c.putImage(t, "alice/deep/er", "v1", deep)
			path := "/api/v2.0/projects/" + project + "/repositories/"

			for _, refused := range []struct {
				who    accountsTenant
				status int
			}{{bob, http.StatusForbidden}, {reader, http.StatusForbidden}, {alice.wrong(), http.StatusUnauthorized}, {accountsTenant{}, http.StatusUnauthorized}} {
				who := refused.who.on(b)
				if refused.who.Name == "" {
					who = newRawClient(b.URL)
				}
				accountsStatus(t, who, refused.status, http.MethodDelete, path+"app", nil)
			}
			accountsStatus(t, c, http.StatusOK, http.MethodDelete, path+"app", nil)
			accountsList(t, c, "alice/deep/er@"+kept)
			accountsStatus(t, c, http.StatusNotFound, http.MethodGet, "/v2/alice/app/manifests/v1", nil)
			accountsUsed(t, b, alice, accountsBytes(deep), 1<<20, 1)
			accountsStatus(t, c, http.StatusNotFound, http.MethodDelete, path+"app", nil)
			// A slash is encoded, and what comes of it once more.
			accountsStatus(t, c, http.StatusOK, http.MethodDelete, path+"deep%252Fer", nil)
			accountsList(t, c)
			accountsUsed(t, b, alice, 0, 1<<20, 0)
		})
	}
	there := accountsStatus(t, bob.on(b), http.StatusNotFound, http.MethodGet, "/api/v2.0/projects/alice/summary", nil)
	absent := accountsStatus(t, bob.on(b), http.StatusNotFound, http.MethodGet, "/api/v2.0/projects/carol/summary", nil)
	if accountsWithoutID(there.body) != accountsWithoutID(absent.body) {
		t.Errorf("another's project and none differ: %s, %s", there.body, absent.body)
	}

	// It is gone from storage, not only from the index.
	b.stop()
	removeIndex(t, b)
	b.restart()
	accountsList(t, c)
	accountsUsed(t, b, alice, 0, 1<<20, 0)
}

// accountsWithoutID cuts the ID of the request off a message.
func accountsWithoutID(body []byte) string {
	before, _, _ := strings.Cut(string(body), " (request ")
	return before
}

// TestAccountsAdministrator sees whose an image is and who may pull it; others
// do not.
func TestAccountsAdministrator(t *testing.T) {
	t.Parallel()
	b := start(t)
	root, alice := accountsAdd(t, b, "root", "--admin"), accountsAdd(t, b, "alice")
	bob := accountsAdd(t, b, "bob")
	accountsCommand(t, b, nil, "grant", "bob", "read", "alice/shared")
	accountsCommand(t, b, nil, "grant", "alice", "write", "team")
	image := newRawImage("admin", "one")
	for _, repository := range []string{"alice/app", "alice/shared", "team/app"} {
		alice.on(b).putImage(t, repository, "v1", image)
	}
	root.on(b).putImage(t, "official/app", "v1", image)
	root.on(b).putImage(t, "bob/made", "v1", image) // an administrator may

	type seen struct {
		URL   string
		Owner *string
		Users []string
	}
	images := func(who accountsTenant) map[string]seen {
		t.Helper()
		a := accountsStatus(t, who.on(b), http.StatusOK, http.MethodGet, "/v1/images", nil)
		var answer struct{ Data struct{ Images []seen } }
		if err := json.Unmarshal(a.body, &answer); err != nil {
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
	for who, want := range map[accountsTenant][]string{
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

// accountsEvent is a line of the audit log.
type accountsEvent struct {
	Time                                                                     time.Time
	Account, Token, Client, Request, Action, Repository, Tag, Digest, Detail string
	Status                                                                   int
}

// accountsAudit reads the audit log, in which each line must be an event.
func accountsAudit(t testing.TB, path string) (events []accountsEvent, text string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(content) {
		var e accountsEvent
		decodeStrictly(t, line, &e)
		events = append(events, e)
	}
	return events, string(content)
}

// TestAccountsAudit wants a line for everything that was changed or refused,
// and no secret in any.
func TestAccountsAudit(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	b := start(t, withEnv("BERTH_AUDIT_FILE="+path))
	begun := time.Now().Add(-time.Second)
	root := accountsAdd(t, b, "root", "--admin")
	alice := accountsAdd(t, b, "alice", "--quota", "64KiB", "--label", "laptop")
	reader := accountsToken(t, b, "alice", "reader", "--read-only")
	bob := accountsAdd(t, b, "bob")
	image, c := newRawImage("audit", "one"), alice.on(b)
	child, index := rawDigest(image.manifest), c.putImage(t, "alice/app", "v1", image)
	root.on(b).putImage(t, "tools", "v1", image) // stored as official/tools
	c.putImage(t, "alice/gone", "v1", image)
	accountsStatus(t, c, http.StatusAccepted, http.MethodDelete, "/v2/alice/app/manifests/v1", nil)
	accountsStatus(t, c, http.StatusAccepted, http.MethodDelete, "/v2/alice/app/manifests/"+index, nil)
	accountsStatus(t, c, http.StatusOK, http.MethodDelete, "/api/v2.0/projects/alice/repositories/gone", nil)
	put := func(c *rawClient, status int, repository string) {
		t.Helper()
		accountsStatus(t, c, status, http.MethodPut, "/v2/"+repository+"/manifests/v2", image.manifest, "Content-Type", rawOCIManifest)
	}
	put(bob.on(b), http.StatusForbidden, "alice/app")
	put(reader.on(b), http.StatusForbidden, "alice/app")
	put(bob.wrong().on(b), http.StatusUnauthorized, "alice/app")
	put(accountsClient(b, "Bearer "+bob.Secret), http.StatusUnauthorized, "alice/app")
	if _, err := c.push("alice/large", "v1", accountsImage("audit", "large", 70<<10)); err == nil {
		t.Error("the quota is not kept")
	}

	events, text := accountsAudit(t, path)
	wanted := func(want accountsEvent, details ...string) {
		t.Helper()
		found := slices.IndexFunc(events, func(e accountsEvent) bool {
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
		push := accountsEvent{Account: p.account, Token: p.token, Action: "push", Repository: p.repository, Status: 201}
		push.Digest = child
		wanted(push)
		push.Tag, push.Digest = "v1", index
		wanted(push)
	}
	deleted := accountsEvent{Account: "alice", Token: "laptop", Action: "delete", Repository: "alice/app", Status: 202}
	deleted.Tag = "v1"
	wanted(deleted)
	deleted.Tag, deleted.Digest = "", index
	wanted(deleted)
	wanted(accountsEvent{Account: "alice", Token: "laptop", Action: "delete", Repository: "alice/gone", Status: 200})
	refused := accountsEvent{Account: "bob", Token: "default", Action: "refused", Repository: "alice/app", Tag: "v2", Status: 403}
	wanted(refused, "DENIED")
	refused.Account, refused.Token = "alice", "reader"
	wanted(refused, "DENIED", "only read")
	refused.Account, refused.Token, refused.Status = "", "", 401
	wanted(refused, "UNAUTHORIZED")
	wanted(refused, "UNAUTHORIZED")
	wanted(accountsEvent{Account: "alice", Token: "laptop", Action: "refused", Repository: "alice/large", Status: 403}, "DENIED", "exceed")
	for _, e := range events {
		if e.Repository != "" {
			t.Errorf("a line too many: %+v", e)
		}
	}
	accountsGreps(t, map[string]string{"the audit log": text, "the log": b.log.String()}, root, alice, reader, bob)
	accountsGreps(t, map[string]string{"the metrics": string(b.get(t, "/metrics", ""))}, root, alice, reader, bob)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the audit log can be read by others: %v, %v", info.Mode(), err)
	}
}

// TestAccountsAuditOfCommands wants a line for every change of the accounts.
func TestAccountsAuditOfCommands(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	b := start(t, withEnv("BERTH_AUDIT_FILE="+path))
	alice := accountsAdd(t, b, "alice")
	ci := accountsToken(t, b, "alice", "ci")
	accountsCommand(t, b, nil, "grant", "alice", "read", "team")
	accountsCommand(t, b, nil, "revoke", "alice", "read", "team")
	accountsCommand(t, b, nil, "token", "revoke", "alice", "ci")
	accountsCommand(t, b, nil, "remove", "alice", "--yes")
	events, text := accountsAudit(t, path)
	if len(events) != 6 {
		t.Errorf("six changes left %d lines:\n%s", len(events), text)
	}
	for _, e := range events {
		if e.Action == "" || e.Time.IsZero() || !strings.Contains(e.Account+e.Detail, "alice") {
			t.Errorf("says little: %+v", e)
		}
	}
	accountsGreps(t, map[string]string{"the audit log": text}, alice, ci)
}
