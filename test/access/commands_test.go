package access

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// command runs berth account with the data of a berth, as a script does: nobody
// can be asked.
func command(t *testing.T, b *harness.Berth, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	env := append([]string{"BERTH_HTTP_LISTEN=" + b.Host}, b.Env...)
	return harness.CommandLine(t, env, append([]string{"account", "--data", b.Data}, args...)...)
}

// wantDone wants a command to succeed and to print something.
func wantDone(t *testing.T, b *harness.Berth, says string, args ...string) (stderr string) {
	t.Helper()
	stdout, stderr, code := command(t, b, args...)
	if code != 0 || !strings.Contains(stdout, says) {
		t.Fatalf("berth account %s: exited with %d and printed %s%s, want %s", strings.Join(args, " "), code, stdout, stderr, says)
	}
	return stderr
}

// wantRefused wants a command to fail and to say why.
func wantRefused(t *testing.T, b *harness.Berth, says string, args ...string) {
	t.Helper()
	stdout, stderr, code := command(t, b, args...)
	if code != 1 || stdout != "" || !strings.Contains(stderr, says) {
		t.Errorf("berth account %s: exited with %d and printed %s%s, want %s", strings.Join(args, " "), code, stdout, stderr, says)
	}
}

// TestPurge removes an account with its images, while berth runs and while none
// does.
func TestPurge(t *testing.T) {
	t.Parallel()
	for _, running := range []bool{true, false} {
		purge(t, running)
	}
}

func purge(t *testing.T, running bool) {
	t.Helper()
	audit := filepath.Join(t.TempDir(), "audit.jsonl")
	b := harness.Start(t, harness.WithEnv("BERTH_AUDIT_FILE="+audit))
	root, alice := harness.AddAccount(t, b, "root", "--admin"), harness.AddAccount(t, b, "alice")
	bob := harness.AddAccount(t, b, "bob")
	shared := harness.NewImage("purge", "shared")
	alice.On(b).PutImage(t, "alice/app", "v1", shared)
	alice.On(b).PutImage(t, "alice/app", "v2", harness.NewImage("purge", "two"))
	alice.On(b).PutImage(t, "alice/deep/er/app", "v1", shared)
	kept := bob.On(b).PutImage(t, "bob/app", "v1", shared)
	beside := root.On(b).PutImage(t, "alice-x/app", "v1", shared)
	harness.AccountCommand(t, b, nil, "grant", "bob", "write", "alice/app")
	harness.AccountCommand(t, b, nil, "publish", "alice/app", "bob/app")

	wantRefused(t, b, "--purge deletes images for good, and nobody can be asked here: --yes says that it is meant", "remove", "alice", "--purge")
	wantRefused(t, b, "With it goes every image in 2 repositories: alice/app, alice/deep/er/app.", "remove", "alice", "--purge")
	wantRefused(t, b, `there is no account "alcie"; did you mean alice?`, "remove", "alcie", "--purge", "--yes")
	harness.WantOnly(t, alice.On(b), "alice/app@"+harness.Digest(shared.Index), "alice/app@"+harness.Digest(harness.NewImage("purge", "two").Index),
		"alice/deep/er/app@"+harness.Digest(shared.Index), "bob/app@"+kept)

	if !running {
		b.Stop()
	}
	stderr := wantDone(t, b, "Removed the account alice and the images in 2 repositories.\nNo longer public: alice/app.\nNo longer granted anything in its namespace: bob.\n", "remove", "alice", "--purge", "--yes")
	if stderr != "With it goes every image in 2 repositories: alice/app, alice/deep/er/app.\n" {
		t.Errorf("said %s", stderr)
	}
	if !running {
		b.Restart()
	}
	harness.WantOnly(t, root.On(b), "alice-x/app@"+beside, "bob/app@"+kept)
	wantStatus(t, alice.On(b), http.StatusUnauthorized, http.MethodGet, "/v2/", nil)
	wantStatus(t, root.On(b), http.StatusNotFound, http.MethodGet, "/v2/alice/app/manifests/v1", nil)
	again := harness.AddAccount(t, b, "alice")
	harness.WantOnly(t, again.On(b), "bob/app@"+kept)
	wantStatus(t, bob.On(b), http.StatusForbidden, http.MethodPost, "/v2/alice/app/blobs/uploads/", nil)
	var gone struct{ Purged []string }
	harness.AccountCommandSaying(t, b, &gone, "It holds no images.\n", "remove", "alice", "--purge", "--yes")
	if gone.Purged == nil || len(gone.Purged) > 0 {
		t.Errorf("got %v", gone.Purged)
	}

	// It is gone from storage, not only from the index.
	b.Stop()
	harness.RemoveIndex(t, b)
	b.Restart()
	harness.WantOnly(t, root.On(b), "alice-x/app@"+beside, "bob/app@"+kept)
	text, err := os.ReadFile(audit)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"action":"account remove","detail":"alice --purge"`, `"repository":"alice/app","status":200,"detail":"all of the repository"`,
	} {
		if !running {
			want = strings.Replace(want, `"status":200,`, "", 1)
		}
		if !strings.Contains(string(text), want) {
			t.Errorf("the audit log lacks %s:\n%s", want, text)
		}
	}
}

// TestPurgeRefused: where images cannot be deleted, their account stays.
func TestPurgeRefused(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	alice := harness.AddAccount(t, b, "alice")
	digest := alice.On(b).PutImage(t, "alice/app", "v1", harness.NewImage("purge", "refused"))
	elsewhere := *b
	elsewhere.Host = harness.FreeAddress(t) // where none listens
	wantRefused(t, &elsewhere, "a berth runs with the data folder "+b.Data+", and cannot be asked what alice holds", "remove", "alice", "--purge", "--yes")
	wantRefused(t, &elsewhere, "cannot tell whether alice holds images", "rename", "alice", "alina")
	harness.WantOnly(t, alice.On(b), "alice/app@"+digest)

	b.Stop()
	b.Env = append(b.Env, "BERTH_STORAGE_MAINTENANCE_READONLY_ENABLED=true")
	b.Restart()
	wantRefused(t, b, "the account alice is not removed, for its images could not all be deleted: alice/app: 405", "remove", "alice", "--purge", "--yes")
	// Nobody pushes meanwhile: only the removal has a token.
	stdout, _, _ := command(t, b, "token", "list", "alice")
	if !strings.Contains(stdout, "removal") || strings.Contains(stdout, "default") {
		t.Errorf("the tokens are %s", stdout)
	}
	wantStatus(t, alice.On(b), http.StatusUnauthorized, http.MethodGet, "/v2/", nil)
	b.Stop()
	b.Env = nil
	b.Restart()
	wantDone(t, b, "Removed the account alice and the images in 1 repository.", "remove", "alice", "--purge", "--yes")
}

// TestQuotaCommand changes a quota under a berth that runs, and shows what is
// used of it.
func TestQuotaCommand(t *testing.T) {
	t.Parallel()
	b := harness.Start(t, harness.WithEnv("BERTH_ACCOUNTS_DEFAULT_QUOTAS=ci-*=1KiB,root=none,*=1MiB"))
	alice := harness.AddAccount(t, b, "alice")
	harness.AddAccount(t, b, "ci-1")
	harness.AddAccount(t, b, "root")
	harness.AddAccount(t, b, "bob", "--quota", "none")
	harness.AddAccount(t, b, "carol", "--quota", "2MiB")
	wantQuotas := func(want map[string]int64) {
		t.Helper()
		var list struct {
			Accounts []struct {
				Name  string
				Quota int64
			}
		}
		harness.AccountCommand(t, b, &list, "list")
		for _, a := range list.Accounts {
			if a.Quota != want[a.Name] {
				t.Errorf("%s may hold %d, want %d", a.Name, a.Quota, want[a.Name])
			}
		}
	}
	wantQuotas(map[string]int64{"alice": 1 << 20, "ci-1": 1 << 10, "carol": 2 << 20})

	image := harness.NewSizedImage("quota", "command", 4000)
	alice.On(b).PutImage(t, "alice/app", "v1", image)
	wantDone(t, b, "alice may hold 1KiB now.\nIt holds ", "quota", "alice", "1KiB")
	if _, err := alice.On(b).Push("alice/more", "v1", harness.NewImage("quota", "more")); err == nil || !strings.Contains(err.Error(), "the storage quota of alice would be exceeded") {
		t.Errorf("pushed beyond the new quota: %v", err)
	}
	wantDone(t, b, "alice may hold 20GiB now.\n", "quota", "alice", "20GiB")
	alice.On(b).PutImage(t, "alice/more", "v1", harness.NewImage("quota", "more"))
	wantDone(t, b, "There is no limit to what alice may hold now.\n", "quota", "alice", "none")
	wantQuotas(map[string]int64{"ci-1": 1 << 10, "carol": 2 << 20})

	for _, wrong := range []string{"0", "-1", "lots", "20GB", "", "1.5GiB", "9999999TiB"} {
		wantRefused(t, b, "the size wants to be a size like 10GiB", "quota", "alice", "--", wrong)
	}
	wantRefused(t, b, `there is no account "alcie"; did you mean alice?`, "quota", "alcie", "1GiB")
	wantRefused(t, b, "wants the name of an account and a size: berth account quota alice 20GiB", "quota", "alice")
	wantRefused(t, b, "--quota wants to be a size like 10GiB", "add", "dave", "--quota", "0")

	wantShown(t, b, alice, image)
}

// wantShown wants what is used to be in the list, whether berth runs or not, and
// to be said to be unknown where it cannot be asked.
func wantShown(t *testing.T, b *harness.Berth, alice harness.Account, image harness.Image) {
	t.Helper()
	alice.On(b).Must(t, http.StatusOK, http.MethodDelete, "/api/v2.0/projects/alice/repositories/more", nil)
	for _, running := range []bool{true, false} {
		if !running {
			b.Stop()
		}
		var list struct {
			Accounts []struct {
				Name string
				Used *struct{ Bytes, Images int64 }
			}
		}
		harness.AccountCommand(t, b, &list, "list")
		for _, a := range list.Accounts {
			want := int64(0)
			if a.Name == "alice" {
				want = counted(once("alice/app", image)) + least // and the link of alice/more to the kernel
			}
			if a.Used == nil || a.Used.Bytes != want || a.Used.Images != min(want, 1) {
				t.Errorf("running %v: %s uses %+v, want %d", running, a.Name, a.Used, want)
			}
		}
		if stderr := wantDone(t, b, "NAME   ADMIN  QUOTA  USED ", "list"); stderr != "" {
			t.Errorf("running %v: said %s", running, stderr)
		}
	}
	b.Restart()
	elsewhere := *b
	elsewhere.Host = harness.FreeAddress(t)
	stderr := wantDone(t, &elsewhere, "NAME   ADMIN  QUOTA  TOKENS ", "list")
	if stderr != "What is used is not known: no berth with this data folder answers at "+elsewhere.Host+", and the index is in use by one that does not.\n" {
		t.Errorf("said %s", stderr)
	}
	b.Stop()
	harness.RemoveIndex(t, b)
	if stderr := wantDone(t, b, "quota   none", "show", "alice"); !strings.Contains(stderr, "and there is no index in ") {
		t.Errorf("said %s", stderr)
	}
}

// TestCommandsAudited: each change of the accounts is written down, as it was given,
// and a change that was refused is none.
func TestCommandsAudited(t *testing.T) {
	t.Parallel()
	audit := filepath.Join(t.TempDir(), "audit.jsonl")
	b := harness.Start(t, harness.WithEnv("BERTH_AUDIT_FILE="+audit))
	alice := harness.AddAccount(t, b, "alice")
	for _, args := range [][]string{
		{"quota", "alice", "20GiB"}, {"publish", "alice/app", "team/x"}, {"unpublish", "team/x"}, {"rename", "alice", "alina"}, {"remove", "alina", "--yes"},
	} {
		if _, stderr, code := command(t, b, args...); code != 0 {
			t.Fatalf("%q: %s", args, stderr)
		}
	}
	wantRefused(t, b, "there is no account", "quota", "alice", "1GiB")
	wantRefused(t, b, "is no repository", "publish", "alice")
	text, err := os.ReadFile(audit)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"action":"account add","detail":"alice"`, `"action":"account quota","detail":"alice 20GiB"`, `"action":"account publish","detail":"alice/app team/x"`,
		`"action":"account unpublish","detail":"team/x"`, `"action":"account rename","detail":"alice alina"`, `"action":"account remove","detail":"alina"`,
	} {
		if strings.Count(string(text), want) != 1 {
			t.Errorf("the audit log lacks %s:\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "1GiB") || strings.Count(string(text), "account publish") != 1 || strings.Contains(string(text), alice.Secret) {
		t.Errorf("the audit log holds more:\n%s", text)
	}
}

// TestRename gives accounts other names under a berth that runs.
func TestRename(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	alice, bob := harness.AddAccount(t, b, "alice", "--quota", "1MiB"), harness.AddAccount(t, b, "bob")
	for _, grant := range [][]string{{"bob", "read", "alice/app"}, {"bob", "write", "alice"}, {"alice", "read", "bob/x"}} {
		harness.AccountCommand(t, b, nil, append([]string{"grant"}, grant...)...)
	}
	harness.AccountCommand(t, b, nil, "publish", "alice/app")

	for says, args := range map[string][]string{
		`there is no account "alcie"; did you mean alice?`:                {"alcie", "alina"},
		"there is an account bob already":                                 {"alice", "bob"},
		`"Alina" is no name for an account`:                               {"alice", "Alina"},
		"no account can be called official":                               {"alice", "official"},
		"wants the name of an account and a new one":                      {"alice"},
		"there is an account alice already":                               {"alice", "alice"},
		`"alice/app" is no name for an account`:                           {"alice", "alice/app"},
		`there is no account "alice/app"`:                                 {"alice/app", "alina"},
		"what looks like a secret is no name for an account":              {"alice", alice.Secret},
		`"` + strings.Repeat("a", 65) + `" is no name for an account: it`: {"alice", strings.Repeat("a", 65)},
	} {
		wantRefused(t, b, says, append([]string{"rename"}, args...)...)
	}

	// Empty, it takes along all that bears its name.
	wantDone(t, b, "alice is called alina now, and logs in with that name and the tokens that it has.\n", "rename", "alice", "alina")
	alina := harness.Account{Name: "alina", Secret: alice.Secret}
	wantStatus(t, alice.On(b), http.StatusUnauthorized, http.MethodGet, "/v2/", nil)
	digest := alina.On(b).PutImage(t, "alina/app", "v1", harness.NewImage("rename", "app"))
	harness.WantOnly(t, bob.On(b), "alina/app@"+digest)
	bob.On(b).PutImage(t, "alina/bob", "v1", harness.NewImage("rename", "bob"))
	wantStatus(t, harness.NewClient(b.URL), http.StatusOK, http.MethodGet, "/v2/alina/app/tags/list", nil)
	file, err := os.ReadFile(filepath.Join(b.Data, "accounts.yaml"))
	_, text, _ := strings.Cut(string(file), "\naccounts:\n")
	if err != nil || strings.Contains(text, "alice") || !strings.Contains(text, "public: [alina/app]") || !strings.Contains(text, "quota: 1MiB") {
		t.Errorf("%v: %s", err, text)
	}

	// With images, only without them: these keep their names.
	wantRefused(t, b, "alina holds 2 repositories (alina/app, alina/bob), which would keep their names: --leave-images renames the account alone", "rename", "alina", "alice")
	wantDone(t, b, "Its images stay in alina/, where it may go on writing", "rename", "alina", "alice", "--leave-images")
	for _, repository := range []string{"alina/app", "alice/app"} {
		alice.On(b).PutImage(t, repository, "v2", harness.NewImage("rename", "again"))
	}
	wantStatus(t, bob.On(b), http.StatusOK, http.MethodGet, "/v2/alina/app/manifests/v1", nil)
	wantStatus(t, harness.NewClient(b.URL), http.StatusOK, http.MethodGet, "/v2/alina/app/manifests/v1", nil)
	wantStatus(t, harness.NewClient(b.URL), http.StatusUnauthorized, http.MethodGet, "/v2/alice/app/manifests/v2", nil)
	var shown struct{ Write []string }
	harness.AccountCommand(t, b, &shown, "show", "alice")
	if text, _ := json.Marshal(shown.Write); string(text) != `["alina"]` {
		t.Errorf("alice writes %s", text)
	}
}
