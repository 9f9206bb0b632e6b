package operation

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
)

// rulesReport is what rules run says with --output json.
type rulesReport struct {
	Removed []struct{ Repository, Tag, Digest, Rule, Reason string }
	Failed  []struct{ Repository, Error string }
	Summary struct {
		DryRun                                bool `json:"dry_run"`
		Repositories, Tags, Manifests, Failed int
	}
}

func runRules(t *testing.T, data, file string, args ...string) rulesReport {
	t.Helper()
	stdout, stderr, code := harness.CommandLine(t, nil, append([]string{"rules", "run", "--data", data, "--config", file, "--output", "json"}, args...)...)
	var report rulesReport
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || code != 0 {
		t.Fatalf("rules run %q exited with %d and said %q, %q: %v", args, code, stdout, stderr, err)
	}
	return report
}

// age makes what is below a path of a repository in storage so many days old.
func age(t *testing.T, b *harness.Berth, repository, path string, days int) {
	t.Helper()
	old := time.Now().AddDate(0, 0, -days)
	file := filepath.Join(b.Data, "storage/docker/registry/v2/repositories", repository, "_manifests", path, "link")
	if err := os.Chtimes(file, old, old); err != nil {
		t.Fatal(err)
	}
}

const rulesConfig = `
audit: {file: %s}
rules:
  default:
    untagged: {older_than: 30d}
    tags:
      - match: "pr-*"
        older_than: 14d
      - match: "v*"
        keep_last: 2
    immutable: ["release-*"]
  namespaces:
    bob: {}
`

// TestRules has images removed by rules, by a registry that runs and by the
// command itself: the same as a dry run says, and nothing else.
func TestRules(t *testing.T) {
	t.Parallel()
	for _, running := range []bool{true, false} {
		t.Run(fmt.Sprintf("running %v", running), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			audit, file := filepath.Join(dir, "audit.jsonl"), filepath.Join(dir, "berth.yaml")
			if err := os.WriteFile(file, fmt.Appendf(nil, rulesConfig, audit), 0o600); err != nil {
				t.Fatal(err)
			}
			b := harness.Start(t, harness.WithArgs("--config", file))
			digests := map[string]string{}
			push := func(repository, tag string) {
				t.Helper()
				var err error
				if digests[tag], err = b.Push(repository, tag, harness.NewImage("k", tag)); err != nil {
					t.Fatal(err)
				}
			}
			for _, tag := range []string{"v1", "v2", "v3", "pr-1", "pr-2", "pr-3", "release-1", "old", "young", "again"} {
				push("alice/app", tag)
			}
			push("bob/app", "pr-1")
			b.PutManifest(t, "alice/app", "keeps", harness.OCIIndex, harness.NewImage("k", "pr-2").Index)
			for _, tag := range []string{"old", "young", "again"} {
				b.Must(t, http.StatusAccepted, http.MethodDelete, "/v2/alice/app/manifests/"+tag, nil)
			}
			b.Stop()
			revision := func(tag string) string { return "revisions/sha256/" + strings.TrimPrefix(digests[tag], "sha256:") }
			age(t, b, "alice/app", "tags/v2/current", 2)
			age(t, b, "alice/app", "tags/v3/current", 1)
			age(t, b, "alice/app", revision("old"), 31)
			age(t, b, "alice/app", revision("again"), 31)
			for _, tag := range []string{"pr-1", "pr-2", "release-1"} {
				age(t, b, "alice/app", "tags/"+tag+"/current", 99)
			}
			age(t, b, "bob/app", "tags/pr-1/current", 99)
			// The index has the times as they were: it is built anew.
			if err := os.Remove(filepath.Join(b.Data, "catalog.db")); err != nil {
				t.Fatal(err)
			}
			b.Restart()
			// Also an old image counts as fresh that is pushed again.
			b.PutManifest(t, "alice/app", digests["again"], harness.OCIIndex, harness.NewImage("k", "again").Index)
			push("alice/app", "v4") // the fourth
			if !running {
				b.Stop()
			}

			dry := runRules(t, b.Data, file, "--dry-run")
			if report := runRules(t, b.Data, file, "--dry-run", "--namespace", "bob"); len(report.Removed) != 0 || report.Summary.Repositories != 0 {
				t.Errorf("of a namespace without rules it removes %+v", report)
			}
			done := runRules(t, b.Data, file, "--namespace", "alice")
			if !dry.Summary.DryRun || done.Summary.DryRun || !reflect.DeepEqual(dry.Removed, done.Removed) {
				t.Errorf("a dry run says\n%+v\nand a run\n%+v", dry, done)
			}
			var tags []string
			gone := map[string]string{}
			for _, r := range done.Removed {
				if r.Tag != "" {
					tags = append(tags, r.Tag)
				} else {
					gone[r.Digest] = r.Rule
				}
			}
			if want := []string{"pr-1", "pr-2", "v2", "v3"}; !slices.Equal(tags, want) {
				t.Errorf("the tags %q go, want %q", tags, want)
			}
			if again := runRules(t, b.Data, file); len(again.Removed) != 0 {
				t.Errorf("a second run removes %+v", again)
			}
			if report, code := fsck(t, b.Data, "--deep"); code != 0 || len(report.Findings) != 0 {
				t.Errorf("fsck exits with %d: %+v", code, report)
			}
			if !running {
				b.Restart()
			}
			for tag, rule := range map[string]string{
				"v2": "rules.default.tags[1]", "v3": "rules.default.tags[1]", "pr-1": "rules.default.tags[0]", "old": "rules.default.untagged",
				"v1": "", "v4": "", "pr-2": "", "pr-3": "", "release-1": "", "young": "", "again": "",
			} {
				repository, status := "alice/app", http.StatusOK
				if rule != "" {
					status = http.StatusNotFound
				}
				if tag == "pr-1" && gone[digests[tag]] == "" {
					t.Errorf("the same image in another repository keeps it")
				}
				if gone[digests[tag]] != rule {
					t.Errorf("%s goes by %q, want %q", tag, gone[digests[tag]], rule)
				}
				b.Must(t, status, http.MethodGet, "/v2/"+repository+"/manifests/"+digests[tag], nil)
			}
			b.Must(t, http.StatusOK, http.MethodGet, "/v2/bob/app/manifests/pr-1", nil)
			wantAudited(t, audit, done)
			if running {
				m := harness.Metrics(t, b)
				if got := m[`berth_rules_removed_total{kind="tag",rule="rules.default.tags[1]"}`]; got != "2" {
					t.Errorf("the metrics say that %s tags went by the second rule", got)
				}
			}
			harness.CompareRebuilt(t, b)
		})
	}
}

// wantAudited wants a line of the audit log for everything that was removed.
func wantAudited(t *testing.T, file string, report rulesReport) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range report.Removed {
		found := false
		for line := range strings.Lines(string(text)) {
			var e struct{ Action, Repository, Tag, Digest, Detail string }
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatal(err)
			}
			found = found || e.Action == "delete" && e.Repository == r.Repository && e.Tag == r.Tag && e.Digest == r.Digest && e.Detail == r.Rule+": "+r.Reason
		}
		if !found {
			t.Errorf("the audit log says nothing of %+v:\n%s", r, text)
		}
	}
}

// TestImmutableTags: a push over an immutable tag is refused, in the form of the
// protocol, and one of the same digest is not.
func TestImmutableTags(t *testing.T) {
	t.Parallel()
	b := harness.Start(t, harness.WithEnv(`BERTH_RULES_DEFAULT={immutable: ["v[0-9]*"]}`, "BERTH_RULES_NAMESPACES={bob: {}}"))
	first, second := harness.NewImage("k", "first"), harness.NewImage("k", "second")
	for _, repository := range []string{"alice/app", "bob/app"} {
		for _, tag := range []string{"v1", "latest"} {
			if _, err := b.Push(repository, tag, first); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := b.Push(repository, "latest", second); err != nil {
			t.Fatal(err)
		}
	}
	digest := harness.Digest(second.Index)
	for _, target := range []string{"v1", digest + "?tag=v1", digest + "?tag=v2&tag=v1"} {
		a := b.Must(t, http.StatusPreconditionFailed, http.MethodPut, "/v2/alice/app/manifests/"+target, second.Index, "Content-Type", harness.OCIIndex)
		var answer struct {
			Errors []struct{ Code, Message string }
		}
		if err := json.Unmarshal(a.Body, &answer); err != nil || len(answer.Errors) != 1 || answer.Errors[0].Code != "TAG_INVALID" ||
			!strings.Contains(answer.Errors[0].Message, "v1 is immutable") {
			t.Errorf("a push to %s is answered %s", target, a.Body)
		}
	}
	if got, err := b.DigestOf("alice/app", "v1"); err != nil || got != harness.Digest(first.Index) {
		t.Errorf("v1 is %s, %v", got, err)
	}
	b.Must(t, http.StatusNotFound, http.MethodGet, "/v2/alice/app/manifests/v2", nil)
	b.PutManifest(t, "alice/app", "v1", harness.OCIIndex, first.Index)
	b.PutManifest(t, "bob/app", "v1", harness.OCIIndex, second.Index)
	// Who may delete may give the tag to something else.
	b.Must(t, http.StatusAccepted, http.MethodDelete, "/v2/alice/app/manifests/v1", nil)
	b.PutManifest(t, "alice/app", "v1", harness.OCIIndex, second.Index)
	harness.CompareRebuilt(t, b)
}
