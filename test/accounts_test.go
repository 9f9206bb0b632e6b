package test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// accountsTenant is an account with one of its tokens, as the command that made
// it printed them.
type accountsTenant struct {
	Name   string `json:"name"`
	Secret string `json:"token"`
	Bearer string `json:"bearer"`
}

func (a accountsTenant) basic() string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(a.Name+":"+a.Secret))
}

// wrong is the account with a password that it does not have.
func (a accountsTenant) wrong() accountsTenant {
	return accountsTenant{a.Name, "wrong", base64.StdEncoding.EncodeToString([]byte(a.Name + ":wrong"))}
}

// accountsCommand runs berth account with the configuration of a berth that
// runs, and decodes what it prints. It must succeed.
func accountsCommand(t testing.TB, b *Berth, into any, args ...string) {
	t.Helper()
	stdout, stderr, code := commandLine(t, append([]string{"BERTH_HTTP_LISTEN=" + b.Host}, b.env...), append([]string{"account", "--data", b.Data, "--output", "json"}, args...)...)
	if code != 0 || stderr != "" {
		t.Fatalf("berth account %s: exited with %d and said %s", strings.Join(args, " "), code, stderr)
	}
	if into == nil {
		return
	}
	if err := json.Unmarshal([]byte(stdout), into); err != nil {
		t.Fatalf("berth account %s: %v in %s", strings.Join(args, " "), err, stdout)
	}
}

// accountsAdd adds an account.
func accountsAdd(t testing.TB, b *Berth, name string, flags ...string) accountsTenant {
	t.Helper()
	var a accountsTenant
	accountsCommand(t, b, &a, append([]string{"add", name}, flags...)...)
	return a
}

// accountsToken adds a token to an account.
func accountsToken(t testing.TB, b *Berth, name, label string, flags ...string) accountsTenant {
	t.Helper()
	var a accountsTenant
	accountsCommand(t, b, &a, append([]string{"token", "add", name, "--label", label}, flags...)...)
	return a
}

// accountsTransport shows an Authorization wherever none is set.
type accountsTransport struct {
	authorization string
	next          http.RoundTripper
}

func (t accountsTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if t.authorization != "" && r.Header.Get("Authorization") == "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", t.authorization)
	}
	return t.next.RoundTrip(r)
}

// accountsClient sends requests with an Authorization.
func accountsClient(b *Berth, authorization string) *rawClient {
	c := newRawClient(b.URL)
	c.http.Transport = accountsTransport{authorization, c.http.Transport}
	return c
}

// on sends requests as the account, by Basic.
func (a accountsTenant) on(b *Berth) *rawClient { return accountsClient(b, a.basic()) }

// accountsSigned gets a signed token from the token endpoint, as Docker clients
// do; by no account an anonymous one.
func accountsSigned(t testing.TB, b *Berth, authorization string) string {
	t.Helper()
	a, err := accountsClient(b, authorization).want(http.StatusOK, http.MethodGet, "/token?service=berth", nil)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ Token string }
	if err := json.Unmarshal(a.body, &answer); err != nil || answer.Token == "" {
		t.Fatalf("no token: %v in %s", err, a.body)
	}
	return answer.Token
}

// accountsStatus wants a status of a request and returns the answer.
func accountsStatus(t testing.TB, c *rawClient, status int, method, path string, body any, header ...string) *rawAnswer {
	t.Helper()
	a, err := c.want(status, method, path, body, header...)
	if err != nil {
		t.Error(err)
	}
	if a == nil {
		a = &rawAnswer{}
	}
	return a
}

// accountsList wants exactly these images, <name>@<digest>, of all that a
// client sees.
func accountsList(t testing.TB, c *rawClient, want ...string) {
	t.Helper()
	listed, err := c.listed("", "")
	if err != nil {
		t.Error(err)
		return
	}
	var got []string
	for name := range listed {
		got = append(got, name)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("sees %v, want %v", got, want)
	}
}

// accountsDigest asks the API for the digest of a tag with the platform's own
// Bearer, as a controller does.
func accountsDigest(t testing.TB, b *Berth, who accountsTenant, image string) (name, digest string) {
	t.Helper()
	listed, err := accountsClient(b, "Bearer "+who.Bearer).listed("", `{"tag":"`+image+`"}`)
	if err != nil || len(listed) != 1 {
		t.Fatalf("%s: found %v, %v", image, listed, err)
	}
	for found := range listed {
		name, digest, _ = strings.Cut(found, "@")
	}
	return name, digest
}

// accountsImage is an image of which size bytes are its own.
func accountsImage(kernel, salt string, size int) rawImage {
	image := newRawImage(kernel, salt)
	initrd := append([]byte("initrd "+salt), bytes.Repeat([]byte{'.'}, size)...)
	config := image.blobs[2]
	manifest := rawManifestOf(rawDescribe(rawOCIConfig, config),
		rawDescribe(rawOCILayer, image.blobs[0]).marked("org.unikraft.kernel.image", "/unikraft/bin/kernel"),
		rawDescribe(rawOCILayer, initrd).marked("org.unikraft.kernel.initrd", "/unikraft/bin/initrd"))
	return rawImage{[][]byte{image.blobs[0], initrd, config}, manifest, rawIndexOf(rawDescribe(rawOCIManifest, manifest))}
}

// accountsBytes is what images store together, each blob counted once.
func accountsBytes(images ...rawImage) (bytes int64) {
	seen := map[string]bool{}
	for _, image := range images {
		for _, blob := range image.blobs {
			if d := rawDigest(blob); !seen[d] {
				seen[d] = true
				bytes += int64(len(blob))
			}
		}
	}
	return bytes
}

// accountsUploads are the uploads that are left in storage.
func accountsUploads(t testing.TB, b *Berth) (left []string) {
	t.Helper()
	root := filepath.Join(b.Data, "storage")
	err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		// A folder may go away while it is looked at.
		if err == nil && filepath.Base(filepath.Dir(path)) == "_uploads" {
			left = append(left, strings.TrimPrefix(path, root))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return left
}

// accountsGreps wants none of the secrets in any of the texts.
func accountsGreps(t testing.TB, texts map[string]string, secrets ...accountsTenant) {
	t.Helper()
	for where, text := range texts {
		for _, s := range secrets {
			for _, form := range []string{s.Secret, s.Bearer, strings.TrimPrefix(s.basic(), "Basic ")} {
				if strings.Contains(text, form) {
					t.Errorf("%s holds a secret of %s:\n%s", where, s.Name, text)
				}
			}
		}
	}
}

// accountsFigures are used and hard of a namespace.
type accountsFigures struct{ used, hard, images int64 }

// accountsQuota asks GET /v1/users/quotas, of which nothing may be missing.
func accountsQuota(c *rawClient) (f accountsFigures, id string, err error) {
	a, err := c.want(http.StatusOK, http.MethodGet, "/v1/users/quotas", nil)
	if err != nil {
		return f, "", err
	}
	type amounts struct {
		ImageStorage *int64 `json:"image_storage_bytes"`
		Images       *int64 `json:"images"`
	}
	var answer struct {
		Status string
		Data   map[string][]struct {
			UUID       string
			Used, Hard *amounts
		}
		OpTime *int64 `json:"op_time_us"`
	}
	if err := json.Unmarshal(a.body, &answer); err != nil {
		return f, "", err
	}
	all := answer.Data["quotas"]
	if answer.Status != "success" || len(answer.Data) != 1 || len(all) != 1 || answer.OpTime == nil ||
		all[0].Used == nil || all[0].Hard == nil || all[0].Used.ImageStorage == nil || all[0].Used.Images == nil {
		return f, "", fmt.Errorf("quotas: %s", a.body)
	}
	f.used, f.images = *all[0].Used.ImageStorage, *all[0].Used.Images
	if all[0].Hard.ImageStorage != nil {
		f.hard = *all[0].Hard.ImageStorage
	}
	return f, all[0].UUID, nil
}

// accountsHarbor asks Harbor's summary of a project.
func accountsHarbor(c *rawClient, project string) (f accountsFigures, err error) {
	a, err := c.want(http.StatusOK, http.MethodGet, "/api/v2.0/projects/"+project+"/summary", nil)
	if err != nil {
		return f, err
	}
	var answer struct {
		Quota struct{ Hard, Used struct{ Storage int64 } }
	}
	err = json.Unmarshal(a.body, &answer)
	return accountsFigures{used: answer.Quota.Used.Storage, hard: answer.Quota.Hard.Storage}, err
}
