package clients

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// TestImagesList lists as a person and as a script, with an account and without.
func TestImagesList(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	root, alice := harness.AddAccount(t, b, "root", "--admin"), harness.AddAccount(t, b, "alice")
	f := harness.FixtureNamed(t, "kraft-hello")
	env := func(who harness.Account) []string {
		return []string{"BERTH_HOST=" + b.Host, "BERTH_TOKEN=" + who.Bearer}
	}
	for repository, who := range map[string]harness.Account{"alice/hello": alice, "alice/hello/deep": alice, "official/nginx": root, "bob/hello": root} {
		wantImages(t, env(who), done, f.Digest, "cp", "oci:"+f.Dir()+":"+f.Tag, repository+":v1")
	}
	wantImages(t, env(alice), done, "", "rm", "alice/hello/deep:v1", "--untag", "--yes")
	for n := range 4 {
		wantImages(t, env(alice), done, "", "tag", "alice/hello:v1", fmt.Sprint("v", n+2))
	}
	row := regexp.MustCompile(`(?m)^(\S+)  +(\S+(?: \+\d)?)  +\d{4}-\d\d-\d\d \d\d:\d\d  +[0-9.]+ KiB  +qemu/x86_64  +` + f.Digest[:19] + `$`)
	for _, test := range []struct {
		who  harness.Account
		args []string
		want string
	}{
		{alice, nil, "alice/hello v1,v2,v3 +2; alice/hello/deep -; nginx v1"},
		{alice, []string{"--tagged"}, "alice/hello v1,v2,v3 +2; nginx v1"},
		{alice, []string{"alice/hello/deep"}, "alice/hello/deep -"},
		{alice, []string{"official", "alice/hello", "--tagged"}, "alice/hello v1,v2,v3 +2; nginx v1"},
		{root, []string{"bob"}, "bob/hello v1"},
		{alice, []string{"bob"}, ""},
	} {
		stdout, stderr, code := images(t, env(test.who), append([]string{"ls"}, test.args...)...)
		var rows []string
		for _, m := range row.FindAllStringSubmatch(stdout, -1) {
			rows = append(rows, m[1]+" "+m[2])
		}
		// What was created at one time has no order that people know.
		for _, want := range strings.Split(test.want, "; ") {
			if want != "" && !strings.Contains("; "+strings.Join(rows, "; ")+";", "; "+want+";") {
				t.Errorf("%s %q: got %q, want %q", test.who.Name, test.args, rows, test.want)
			}
		}
		if code != done || len(rows) != strings.Count(stdout, "\n")-1 || test.want == "" != (len(rows) == 0) || test.want != "" && len(rows) != strings.Count(test.want, ";")+1 ||
			!strings.HasPrefix(stdout, "NAME") || (stderr == b.Host+" shows no images.\n") != (len(rows) == 0) {
			t.Errorf("%s %q: exited with %d and said %s%s", test.who.Name, test.args, code, stdout, stderr)
		}
	}
	var list struct {
		Images []struct {
			URL  string
			Tags []string
		}
	}
	if err := json.Unmarshal([]byte(wantImages(t, env(alice), done, "", "ls", "alice/hello", "--tagged", "-o", "json")), &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Images) != 1 || list.Images[0].URL != b.Host+"/alice/hello@"+f.Digest || len(list.Images[0].Tags) != 5 {
		t.Errorf("got %+v", list)
	}
	if out := wantImages(t, env(alice), done, "", "ls", "bob", "-o", "json"); out != "{\n  \"images\": []\n}\n" {
		t.Errorf("of nothing: %s", out)
	}
}

// TestImagesListRefused: what is no list says why, by its exit status too.
func TestImagesListRefused(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	alice := harness.AddAccount(t, b, "alice")
	f := harness.FixtureNamed(t, "kraft-hello")
	env := func(who harness.Account) []string {
		return []string{"BERTH_HOST=" + b.Host, "BERTH_TOKEN=" + who.Bearer}
	}
	for _, repository := range []string{"alice/hello", "alice/other"} {
		wantImages(t, env(alice), done, f.Digest, "cp", "oci:"+f.Dir()+":"+f.Tag, repository+":v1")
	}
	nobody := []string{"BERTH_HOST=" + b.Host}
	wantImages(t, nobody, denied, "an account is wanted", "ls")
	wantImages(t, env(alice.Wrong()), denied, "berth answers 401", "ls")
	harness.AccountCommand(t, b, nil, "publish", "alice/hello")
	if out := wantImages(t, nobody, done, "alice/hello  v1", "ls"); strings.Count(out, "\n") != 2 {
		t.Errorf("without an account: %s", out)
	}
	wantImages(t, nobody, done, f.Digest, "show", "alice/hello:v1")
	for _, wrong := range []string{"Alice", "alice/", "alice:v1", b.Host + "/alice", "a/../b", strings.Repeat("a", 300), ""} {
		if out := wantImages(t, nobody, usage, "is no namespace or repository", "ls", wrong); out != "" {
			t.Errorf("%q: printed %s", wrong, out)
		}
	}
	wantImages(t, []string{"BERTH_HOST=" + harness.FreeAddress(t)}, unavailable, "connection refused", "ls")
	for status, code := range map[int]int{http.StatusNotFound: notFound, http.StatusInternalServerError: unavailable, http.StatusTooManyRequests: unavailable, http.StatusForbidden: denied, http.StatusOK: failed} {
		other := faulty(t, b, func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(status)
			_, _ = w.Write([]byte("<html>"))
			return true
		})
		wantImages(t, []string{"BERTH_HOST=" + other}, code, other, "ls")
	}
}

// TestImagesListPages: a list has every image once, however many pages it takes.
func TestImagesListPages(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	want := map[string]bool{}
	for n := range 230 {
		image := harness.PushSmall(t, b, fmt.Sprint("alice/app", n%7), fmt.Sprint(n), "2026-01-01T00:00:00Z", fmt.Sprint("v", n))
		want[image.Digest] = true
	}
	var list struct{ Images []struct{ URL string } }
	if err := json.Unmarshal([]byte(wantImages(t, []string{"BERTH_HOST=" + b.Host}, done, "", "ls", "alice", "-o", "json")), &list); err != nil {
		t.Fatal(err)
	}
	for _, image := range list.Images {
		_, digest, _ := strings.Cut(image.URL, "@")
		if !want[digest] {
			t.Errorf("%s is there twice, or was never pushed", image.URL)
		}
		delete(want, digest)
	}
	if len(want) > 0 {
		t.Errorf("%d images are not listed", len(want))
	}
}
