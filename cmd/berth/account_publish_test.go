package main

import (
	"strings"
	"testing"
)

func TestAccountPublish(t *testing.T) {
	data := t.TempDir()
	for _, command := range []string{"publish", "unpublish"} {
		refused(t, data, "there are no accounts yet", "account", command, "alice/app")
	}
	ok(t, data, "account", "add", "root", "--admin")
	ok(t, data, "account", "add", "alice")
	const public = " is public now: whoever reaches the registry may pull it and list its images, and those of what lies below it.\n"
	for _, step := range []struct {
		args []string
		want string
	}{
		{[]string{"publish", "alice/app", "team/x"}, "alice/app" + public + "team/x" + public},
		{[]string{"publish", "alice/app", "-o", "json"}, "{\n  \"public\": [\n    \"alice/app\",\n    \"team/x\"\n  ]\n}\n"},
		{[]string{"list"}, `NAME   ADMIN  QUOTA  TOKENS  READS  WRITES
alice  -      none   1       -      -
root   yes    none   1       -      -

public, also without an account: alice/app, team/x
`},
		{[]string{"show", "alice"}, `name    alice
quota   none
reads   alice, official
writes  alice
public  alice/app

LABEL    CREATED               EXPIRES  MAY
default  TIME  never    read and write
`},
		{[]string{"unpublish", "team/x"}, "team/x is not public any more.\n"},
		{[]string{"publish", "bob/app"}, "bob/app" + public},
	} {
		if got := golden(ok(t, data, append([]string{"account"}, step.args...)...), data); got != step.want {
			t.Errorf("%s: got:\n%s", strings.Join(step.args, " "), got)
		}
	}
	if out := ok(t, data, "account", "list", "-o", "json"); !strings.Contains(out, "\"public\": [\n    \"alice/app\",\n    \"bob/app\"\n  ]") ||
		!strings.Contains(out, "\"public\": [\n        \"alice/app\"\n      ]") {
		t.Errorf("got %s", out)
	}
	if out := ok(t, data, "account", "add", "bob"); !strings.Contains(out, "Of its namespace is public already: bob/app (berth account unpublish).\n") {
		t.Errorf("got %s", out)
	}
	if out := ok(t, data, "__complete", "account", "unpublish", "a"); out != "alice/app\n:4\n" {
		t.Errorf("got %q", out)
	}
	// With an account goes what was public of it: another of its name is not to
	// inherit that.
	if out := ok(t, data, "account", "remove", "alice", "--yes"); !strings.Contains(out, "No longer public: alice/app.\n") {
		t.Errorf("got %s", out)
	}
	if out := ok(t, data, "account", "list"); strings.Contains(out, "alice/app") || !strings.Contains(out, "bob/app") {
		t.Errorf("got %s", out)
	}

	refused(t, data, `"alice/ap" is not public`, "account", "unpublish", "alice/ap")
	refused(t, data, `"bob/apq" is not public; did you mean bob/app?`, "account", "unpublish", "bob/apq")
	for _, wrong := range []string{"bob", "official", "", "Bob/app", "bob/app:v1", "127.0.0.1:5000/bob/app", "bob/../app", "bob//app", "/bob/app", strings.Repeat("a/", 200) + "a"} {
		_, err := run(t, data, "account", "publish", "bob/web", wrong)
		if err == nil || !strings.Contains(err.Error(), "is no repository: it wants something like alice/app") || len(err.Error()) > 300 {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	if out := ok(t, data, "account", "list"); strings.Contains(out, "bob/web") {
		t.Errorf("half of what was refused holds: %s", out)
	}
	refused(t, data, "wants one or more repositories: berth account publish alice/app", "account", "publish")
	refused(t, data, "wants one or more repositories: berth account unpublish alice/app", "account", "unpublish")
	refused(t, data, "what looks like a secret is no repository", "account", "publish", "berth_"+strings.Repeat("x", 43))
}
