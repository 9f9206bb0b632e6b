package clients

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// The exit statuses of berth images.
const (
	done, failed, usage, notFound, denied, unavailable, wrongContent = 0, 1, 2, 3, 4, 5, 6
)

// images runs berth images with an environment of its own.
func images(t *testing.T, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return harness.CommandLine(t, env, append([]string{"images"}, args...)...)
}

// wantImages wants an exit status, and something to be said or printed.
func wantImages(t *testing.T, env []string, code int, says string, args ...string) (stdout string) {
	t.Helper()
	stdout, stderr, got := images(t, env, args...)
	if got != code || !strings.Contains(stdout+stderr, says) {
		t.Errorf("berth images %s: exited with %d and said %s%s, want %d and %s", strings.Join(args, " "), got, stdout, stderr, code, says)
	}
	return stdout
}

// TestImagesCommands goes through what a person does with images, with an account.
func TestImagesCommands(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	alice, bob := harness.AddAccount(t, b, "alice"), harness.AddAccount(t, b, "bob")
	f := harness.FixtureNamed(t, "kraft-hello")
	env := []string{"BERTH_HOST=" + b.Host, "BERTH_TOKEN=" + alice.Bearer}
	layout := "oci:" + f.Dir() + ":" + f.Tag

	wantImages(t, env, done, f.Digest+"\n", "cp", layout, "alice/hello:v1")
	wantImages(t, env, done, "0 parts copied", "cp", layout, b.Host+"/alice/hello:v1")
	wantImages(t, env, done, "alice/hello:v3 is "+f.Digest+" now.\n", "tag", "alice/hello:v1", "v2", "v3")
	// Within a registry, blobs are not sent.
	wantImages(t, env, done, "3 mounted", "cp", "alice/hello:v1", "alice/other")
	folder := filepath.Join(t.TempDir(), "out")
	wantImages(t, env, done, "5 parts copied", "cp", "alice/other:v1", "oci:"+folder)
	harness.SameBlobs(t, folder, f.Dir())
	wantImages(t, env, done, f.Digest, "cp", "oci:"+folder, "alice/again:v9")

	var shown struct {
		Digest    string
		Unikernel struct{ Args []string }
		Hints     []string
	}
	if err := json.Unmarshal([]byte(wantImages(t, env, done, "", "show", "alice/hello:v2", "--output", "json")), &shown); err != nil {
		t.Fatal(err)
	}
	if shown.Digest != f.Digest || strings.Join(shown.Unikernel.Args, " ") != strings.Join(f.Args, " ") || shown.Hints == nil || len(shown.Hints) > 0 {
		t.Errorf("shown: %+v", shown)
	}
	wantImages(t, env, done, "platform   qemu/x86_64 "+f.Platforms[0].Digest, "show", "alice/hello@"+f.Digest)

	other := []string{"BERTH_HOST=" + b.Host, "BERTH_TOKEN=" + bob.Bearer}
	for _, args := range [][]string{{"show", "alice/hello:v1"}, {"show", "alice/none"}, {"cp", "alice/hello:v1", "oci:" + t.TempDir()}, {"rm", "alice/hello:v1", "--yes"}, {"tag", "alice/hello:v1", "v5"}, {"rm", "alice/hello", "--all", "--yes"}} {
		wantImages(t, other, notFound, "is not there, or not for you", args...)
	}
	wantImages(t, other, denied, "you may not write to alice/stolen", "cp", layout, "alice/stolen:v1")
	for _, token := range []string{"", alice.Wrong().Bearer} {
		wantImages(t, []string{"BERTH_HOST=" + b.Host, "BERTH_TOKEN=" + token}, denied, "log in with docker login, or give a token", "show", "alice/hello:v1")
	}
	reader := harness.AddToken(t, b, "alice", "reader", "--read-only")
	wantImages(t, []string{"BERTH_HOST=" + b.Host, "BERTH_TOKEN=" + reader.Bearer}, denied, "this token may only read", "rm", "alice/hello:v1", "--yes")

	t.Run("rm", func(t *testing.T) { removeImages(t, b, alice, env, f) })
	harness.WantNoSecrets(t, map[string]string{"the log": b.Log.String()}, alice, bob)
}

// removeImages deletes what TestImagesCommands has pushed.
func removeImages(t *testing.T, b *harness.Berth, alice harness.Account, env []string, f harness.Fixture) {
	c := alice.On(b)
	child := f.Platforms[0].Digest
	wantTags := func(repository, want string) {
		t.Helper()
		a, err := c.Do(http.MethodGet, "/v2/"+repository+"/tags/list", nil)
		if err != nil || !strings.Contains(string(a.Body), `"tags":[`+want+`]`) {
			t.Errorf("tags of %s: %s %v, want %s", repository, a.Body, err, want)
		}
	}
	for _, args := range [][]string{{"rm", "alice/hello:v1"}, {"rm", "alice/hello", "--all"}, {"rm", "alice/hello@" + f.Digest}} {
		wantImages(t, env, usage, "nobody can be asked here: --yes says that it is meant", args...)
	}
	wantTags("alice/hello", `"v1","v2","v3"`)
	wantImages(t, env, done, "alice/hello:v1: the tag; "+f.Digest+" stays", "rm", "alice/hello:v1", "--yes")
	wantTags("alice/hello", `"v2","v3"`)
	// With its last tags goes the image, with everything below it.
	wantImages(t, env, done, "with 2 tags: v2, v3\n  with "+child+" qemu/x86_64\n", "rm", "alice/hello:v2", "alice/hello:v3", "--yes")
	wantTags("alice/hello", "")
	c.Must(t, http.StatusNotFound, http.MethodHead, "/v2/alice/hello/manifests/"+f.Digest, nil)
	c.Must(t, http.StatusNotFound, http.MethodHead, "/v2/alice/hello/manifests/"+child, nil)
	// Unless only the tag is meant.
	wantImages(t, env, done, "alice/other:v1: the tag", "rm", "alice/other:v1", "--untag", "--yes")
	c.Must(t, http.StatusOK, http.MethodHead, "/v2/alice/other/manifests/"+f.Digest, nil)
	wantImages(t, env, done, f.Digest+", without a tag", "rm", "alice/other@"+f.Digest, "--yes")
	c.Must(t, http.StatusNotFound, http.MethodHead, "/v2/alice/other/manifests/"+f.Digest, nil)

	c.PutImage(t, "alice/again/deep", "v1", harness.NewImage("rm", "deep"))
	out := wantImages(t, env, done, "alice/again/deep: everything, with 1 tag: v1", "rm", "alice/again", "alice/again/deep", "--all", "--yes", "--output", "json")
	var said struct{ Deleted []struct{ Image string } }
	if err := json.Unmarshal([]byte(out), &said); err != nil || len(said.Deleted) != 2 {
		t.Errorf("%v: %s", err, out)
	}
	harness.WantOnly(t, c)
}

// TestImagesUsage gives each argument and variable something wrong.
func TestImagesUsage(t *testing.T) {
	t.Parallel()
	secret := "berth_" + strings.Repeat("x", 43)
	file := func(content string) string {
		path := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	long := strings.Repeat("a", 300)
	for _, test := range []struct {
		says string
		env  []string
		args []string
	}{
		{`unknown command "shw" for "berth images"; did you mean berth images show?`, nil, []string{"shw"}},
		{"unknown flag: --nope", nil, []string{"show", "a/b", "--nope"}},
		{"wants an image: berth images show alice/app:v1", nil, []string{"show"}},
		{"wants an image: berth images show alice/app:v1", nil, []string{"show", "a/b", "c/d"}},
		{"wants an image and one or more tags", nil, []string{"tag", "a/b:v1"}},
		{"wants one or more images", nil, []string{"rm"}},
		{"wants an image and where it goes", nil, []string{"cp", "a/b"}},
		{`--output: "xml" is neither text nor json`, nil, []string{"show", "a/b", "-o", "xml"}},
		{"--jobs: 0 is not between 1 and 64", nil, []string{"cp", "a/b", "c/d", "--jobs", "0"}},
		{"--jobs: 65 is not between 1 and 64", nil, []string{"cp", "a/b", "c/d", "--jobs", "65"}},
		{"--untag and --all are not for the same image", nil, []string{"rm", "a/b", "--untag", "--all"}},
		{"say which image goes, by a tag or by a digest", nil, []string{"rm", "a/b"}},
		{"--all is for a repository, without a tag or a digest", nil, []string{"rm", "a/b:v1", "--all", "--yes"}},
		{"is no image, for it has a malformed name", nil, []string{"show", "Alice/app"}},
		{"is no image, for it has a malformed name", nil, []string{"show", ""}},
		{"is no image, for it has a malformed name", nil, []string{"show", long}},
		{"is no image, for it has a malformed name", nil, []string{"show", "a/../b"}},
		{"is no image, for it has a malformed tag", nil, []string{"show", "a/b:.x"}},
		{"is no image, for it has a malformed digest", nil, []string{"show", "a/b@sha256:12"}},
		{"without a scheme", nil, []string{"show", "https://registry.example.com/a/b"}},
		{"is no host", nil, []string{"show", "bad:port/a/b"}},
		{"is no host", nil, []string{"show", "127.0.0.1:99999/a/b"}},
		{"is a folder: this is for images in a registry", nil, []string{"show", "oci:x:v1"}},
		{"names no folder", nil, []string{"cp", "oci::v1", "a/b"}},
		{"the digest of a copy is that of the image", nil, []string{"cp", "a/b:v1", "c/d@sha256:" + strings.Repeat("0", 64)}},
		{"is no host", nil, []string{"show", "a/b", "--host", "not a host"}},
		{"the host is no address of a registry", nil, []string{"show", "a/b", "--host", "ftp://x"}},
		{"the host is no address of a registry", nil, []string{"show", "a/b", "--host", "https://user:" + secret + "@x"}},
		{"the host is no address of a registry", []string{"BERTH_HOST=https://x/registry"}, []string{"show", "a/b"}},
		{"BERTH_TOKEN: holds no token", []string{"BERTH_TOKEN=" + secret}, []string{"show", "a/b"}},
		{"UKC_TOKEN: holds no token", []string{"UKC_TOKEN=" + base64.StdEncoding.EncodeToString([]byte("nocolon"))}, []string{"show", "a/b"}},
		{"--token-file: holds no token", nil, []string{"show", "a/b", "--token-file", file("alice:")}},
		{"--token-file: is empty", nil, []string{"show", "a/b", "--token-file", file("\n")}},
		{"--token-file: is longer than 8192 bytes", nil, []string{"show", "a/b", "--token-file", file(strings.Repeat("a", 64<<10))}},
		{"--token-file: open", nil, []string{"show", "a/b", "--token-file", filepath.Join(t.TempDir(), "none")}},
	} {
		stdout, stderr, code := images(t, test.env, test.args...)
		if code != usage || stdout != "" || !strings.Contains(stderr, test.says) || len(stderr) > 500 || strings.Contains(stderr, secret) {
			t.Errorf("%v %q: exited with %d and said %s%s, want %s", test.env, test.args, code, stdout, stderr, test.says)
		}
	}
	nobody := harness.FreeAddress(t)
	wantImages(t, nil, unavailable, "connection refused", "show", nobody+"/a/b")
	wantImages(t, nil, notFound, "is not there", "cp", "oci:"+filepath.Join(t.TempDir(), "none"), nobody+"/a/b")
	wantImages(t, nil, notFound, "is not there", "cp", "oci:"+harness.FixtureNamed(t, "kraft-hello").Dir()+":none", nobody+"/a/b")
}

// TestImagesTokens gives the token in each way.
func TestImagesTokens(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	alice := harness.AddAccount(t, b, "alice")
	digest := alice.On(b).PutImage(t, "alice/app", "v1", harness.NewImage("tokens", "app"))
	home := t.TempDir()
	for name, content := range map[string]string{
		"token": alice.Bearer + "\n", "pair": alice.Name + ":" + alice.Secret, "wrong": alice.Wrong().Bearer,
		"docker/config.json": `{"auths":{"` + b.Host + `":{"auth":"` + base64.StdEncoding.EncodeToString([]byte("alice:"+alice.Secret)) + `"}}}`,
		"helper/config.json": `{"credHelpers":{"` + b.Host + `":"test"}}`,
		"broken/config.json": `{"auths":`,
		"bin/docker-credential-test": "#!/bin/sh\nread host\n[ \"$1 $host\" = 'get " + b.Host + "' ] || exit 1\n" +
			`echo '{"ServerURL":"` + b.Host + `","Username":"alice","Secret":"` + alice.Secret + `"}'` + "\n",
	} {
		path := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	at := "BERTH_HOST=" + b.Host
	for name, test := range map[string]struct {
		env  []string
		args []string
		code int
	}{
		"variable":                   {[]string{at, "BERTH_TOKEN=" + alice.Bearer}, nil, done},
		"account and token":          {[]string{at, "BERTH_TOKEN=alice:" + alice.Secret}, nil, done},
		"flag":                       {[]string{at}, []string{"--token-file", filepath.Join(home, "token")}, done},
		"flag, account and token":    {[]string{at}, []string{"--token-file", filepath.Join(home, "pair")}, done},
		"flag before variable":       {[]string{at, "BERTH_TOKEN=" + alice.Wrong().Bearer}, []string{"--token-file", filepath.Join(home, "token")}, done},
		"flag before variable, too":  {[]string{at, "BERTH_TOKEN=" + alice.Bearer}, []string{"--token-file", filepath.Join(home, "wrong")}, denied},
		"host by flag":               {[]string{"BERTH_TOKEN=" + alice.Bearer}, []string{"--host", b.Host}, done},
		"host by flag, as address":   {[]string{"BERTH_TOKEN=" + alice.Bearer}, []string{"--host", b.URL + "/v1"}, done},
		"the platform's":             {[]string{"UKC_METRO=" + b.URL + "/v1", "UKC_TOKEN=" + alice.Bearer}, nil, done},
		"the platform's, alone":      {[]string{at, "UKC_TOKEN=" + alice.Bearer}, nil, done},
		"the older platform's":       {[]string{"KRAFTCLOUD_METRO=" + b.URL, "KRAFTCLOUD_TOKEN=" + alice.Bearer}, nil, done},
		"berth's before platform's":  {[]string{at, "BERTH_TOKEN=" + alice.Bearer, "UKC_METRO=fra0", "UKC_TOKEN=" + alice.Wrong().Bearer}, nil, done},
		"another host's":             {[]string{"BERTH_HOST=elsewhere.example.com", "BERTH_TOKEN=" + alice.Bearer}, []string{"--host", b.Host}, denied},
		"another metro's":            {[]string{at, "UKC_METRO=fra0", "UKC_TOKEN=" + alice.Bearer}, nil, denied},
		"docker":                     {[]string{at, "DOCKER_CONFIG=" + filepath.Join(home, "docker")}, nil, done},
		"docker's helper":            {[]string{at, "DOCKER_CONFIG=" + filepath.Join(home, "helper"), "PATH=" + filepath.Join(home, "bin") + ":" + os.Getenv("PATH")}, nil, done},
		"docker, broken":             {[]string{at, "DOCKER_CONFIG=" + filepath.Join(home, "broken")}, nil, failed},
		"variable before docker":     {[]string{at, "BERTH_TOKEN=" + alice.Wrong().Bearer, "DOCKER_CONFIG=" + filepath.Join(home, "docker")}, nil, denied},
		"none":                       {[]string{at}, nil, denied},
		"of an open registry's user": {[]string{at, "BERTH_TOKEN="}, nil, denied},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := images(t, test.env, append([]string{"show", "alice/app:v1"}, test.args...)...)
			if code != test.code || code == done && !strings.Contains(stdout, digest) || strings.Contains(stdout+stderr, alice.Secret) || strings.Contains(stdout+stderr, alice.Bearer) {
				t.Errorf("exited with %d and said %s%s", code, stdout, stderr)
			}
		})
	}
}

// TestImagesTokenStays: another registry than the one that a token is for does not
// get it, whatever it asks for.
func TestImagesTokenStays(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	alice := harness.AddAccount(t, b, "alice")
	alice.On(b).PutImage(t, "alice/app", "v1", harness.NewImage("tokens", "stays"))
	at := "BERTH_HOST=" + b.Host
	seen := make(chan string, 100)
	thief := faulty(t, b, func(w http.ResponseWriter, r *http.Request) bool {
		seen <- fmt.Sprint(r.Header["Authorization"])
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	wantImages(t, []string{at, "BERTH_TOKEN=" + alice.Bearer}, denied, "the registry wants a login", "cp", "alice/app:v1", thief+"/alice/app:v1")
	wantImages(t, []string{at, "BERTH_TOKEN=" + alice.Bearer}, denied, "the registry wants a login", "show", thief+"/alice/app:v1")
	close(seen)
	asked := 0
	for authorization := range seen {
		if asked++; authorization != "[]" {
			t.Errorf("another registry was sent %s", authorization)
		}
	}
	if asked == 0 {
		t.Error("the other registry was not asked")
	}
}
