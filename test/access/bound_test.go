package access

import (
	"crypto/rand"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// Quotas do not bound storage: so it was, for all that is tried here.

const mib = 1 << 20

// random are bytes that nobody else has.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// untilFull does something again and again until it is refused for the quota, and
// wants that not to take more than most times, and no more than the quota of a
// namespace, and a little, to come to disk.
func untilFull(t *testing.T, b *harness.Berth, who harness.Account, hard int64, most int, once func(c *harness.Client, i int) *harness.Answer) {
	t.Helper()
	c, before := who.On(b), bytesOnDisk(t, b)
	for i := 0; ; i++ {
		a := once(c, i)
		if a.Status == http.StatusForbidden {
			wantExceeded(t, fmt.Sprint("the ", i, "th"), a, textOf(hard))
			if i == 0 {
				t.Error("nothing fits")
			}
			t.Logf("%d fit", i)
			break
		}
		if a.Status >= 300 || i > most {
			t.Fatalf("the %dth is not refused: %d %s", i, a.Status, a.Body)
		}
	}
	f, _, err := askQuota(c)
	if err != nil || f.used > hard || f.used < hard/2 {
		t.Errorf("%d of %d bytes count, %v", f.used, hard, err)
	}
	if grown := bytesOnDisk(t, b) - before; grown > hard+mib {
		t.Errorf("%d bytes came to disk, of %d", grown, hard)
	}
}

// textOf is a size as messages have it.
func textOf(bytes int64) string {
	if bytes < mib {
		return fmt.Sprintf("%.1f KiB", float64(bytes)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(bytes)/mib)
}

// must asks what has to be answered at all.
func must(t *testing.T, c *harness.Client, method, target string, body any, header ...string) *harness.Answer {
	t.Helper()
	a, err := c.Do(method, target, body, header...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// blobInto pushes a blob in one request.
func blobInto(t *testing.T, c *harness.Client, repository string, content []byte) *harness.Answer {
	t.Helper()
	return must(t, c, http.MethodPost, "/v2/"+repository+"/blobs/uploads/?digest="+harness.Digest(content), content, "Content-Type", "application/octet-stream")
}

// artifact is a manifest of no blobs but the empty one, of roughly so many bytes.
func artifact(size int, more map[string]any) []byte {
	m := map[string]any{
		"schemaVersion": 2, "mediaType": harness.OCIManifest, "artifactType": "application/vnd.test",
		"config": harness.Describe("application/vnd.oci.empty.v1+json", []byte("{}")), "layers": []harness.Descriptor{},
		"annotations": map[string]string{"text": fmt.Sprintf("%x", random(max(size/2, 8)))},
	}
	for k, v := range more {
		m[k] = v
	}
	return harness.JSON(m)
}

// TestQuotasBoundStorage fills namespaces with one kind of thing each.
func TestQuotasBoundStorage(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	var all []harness.Account
	account := func(t *testing.T, quota string) harness.Account {
		t.Helper()
		who := harness.AddAccount(t, b, fmt.Sprint("tenant", len(all)), "--quota", quota)
		all = append(all, who)
		return who
	}
	manifest := func(t *testing.T, c *harness.Client, repository, reference string, body []byte) *harness.Answer {
		return must(t, c, http.MethodPut, "/v2/"+repository+"/manifests/"+reference, body, "Content-Type", harness.OCIManifest)
	}
	t.Run("finished blobs without a manifest", func(t *testing.T) {
		who := account(t, "10MiB")
		untilFull(t, b, who, 10*mib, 10, func(c *harness.Client, i int) *harness.Answer {
			return blobInto(t, c, who.Name+"/app", random(mib))
		})
	})
	t.Run("many manifests", func(t *testing.T) {
		who := account(t, "10MiB")
		blobInto(t, who.On(b), who.Name+"/app", []byte("{}"))
		untilFull(t, b, who, 10*mib, 10, func(c *harness.Client, i int) *harness.Answer {
			body := artifact(mib, nil)
			return manifest(t, c, who.Name+"/app", harness.Digest(body), body)
		})
	})
	t.Run("many tiny manifests", func(t *testing.T) {
		who := account(t, "512KiB")
		blobInto(t, who.On(b), who.Name+"/app", []byte("{}"))
		untilFull(t, b, who, mib/2, 128, func(c *harness.Client, i int) *harness.Answer {
			body := artifact(0, nil)
			return manifest(t, c, who.Name+"/app", harness.Digest(body), body)
		})
	})
	t.Run("many tags", func(t *testing.T) {
		who := account(t, "1MiB")
		blobInto(t, who.On(b), who.Name+"/app", []byte("{}"))
		body := artifact(0, nil)
		untilFull(t, b, who, mib, 10, func(c *harness.Client, i int) *harness.Answer {
			tags := url.Values{}
			for j := range 100 {
				tags.Add("tag", fmt.Sprintf("t%d-%d", i, j))
			}
			return manifest(t, c, who.Name+"/app", harness.Digest(body)+"?"+tags.Encode(), body)
		})
	})
	t.Run("referrers' annotations", func(t *testing.T) {
		who := account(t, "10MiB")
		blobInto(t, who.On(b), who.Name+"/app", []byte("{}"))
		index := filepath.Join(b.Data, "catalog.db")
		before, err := os.Stat(index)
		if err != nil {
			t.Fatal(err)
		}
		untilFull(t, b, who, 10*mib, 2560, func(c *harness.Client, i int) *harness.Answer {
			body := artifact(200<<10, map[string]any{"subject": harness.Describe(harness.OCIManifest, []byte("subject"))})
			return manifest(t, c, who.Name+"/app", harness.Digest(body), body)
		})
		after, err := os.Stat(index)
		if err != nil || after.Size()-before.Size() > 40*mib {
			t.Errorf("the index grew from %d to %d bytes, %v", before.Size(), after.Size(), err)
		}
	})
	t.Run("cross-repository mounts", func(t *testing.T) {
		who := account(t, "512KiB")
		blobInto(t, who.On(b), who.Name+"/app", []byte("mounted"))
		untilFull(t, b, who, mib/2, 128, func(c *harness.Client, i int) *harness.Answer {
			return must(t, c, http.MethodPost, fmt.Sprintf("/v2/%s/to%d/blobs/uploads/?from=%s/app&mount=%s", who.Name, i, who.Name, harness.Digest([]byte("mounted"))), nil)
		})
	})
	t.Run("the same blob in many repositories", func(t *testing.T) {
		who := account(t, "512KiB")
		content := random(100 << 10)
		untilFull(t, b, who, mib/2, 128, func(c *harness.Client, i int) *harness.Answer {
			return blobInto(t, c, fmt.Sprintf("%s/app%d", who.Name, i), content)
		})
	})
	t.Run("one blob under other digests", func(t *testing.T) {
		who := account(t, "512KiB")
		// So that in the end a blob fits, and its other digest does not.
		blobInto(t, who.On(b), who.Name+"/app", []byte("one by its own"))
		untilFull(t, b, who, mib/2, 128, func(c *harness.Client, i int) *harness.Answer {
			content := random(20)
			return must(t, c, http.MethodPost, "/v2/"+who.Name+"/app/blobs/uploads/?digest="+"sha512:"+fmt.Sprintf("%x", sha512.Sum512(content)), content, "Content-Type", "application/octet-stream")
		})
	})
	t.Run("unfinished uploads", func(t *testing.T) {
		who := account(t, "10MiB")
		untilFull(t, b, who, 10*mib, 10, func(c *harness.Client, i int) *harness.Answer {
			a := must(t, c, http.MethodPost, "/v2/"+who.Name+"/app/blobs/uploads/", nil)
			if a.Status != http.StatusAccepted {
				return a
			}
			return must(t, c, http.MethodPatch, locationOf(t, b, a), random(mib), "Content-Type", "application/octet-stream")
		})
	})
	t.Run("uploads that never receive a byte", func(t *testing.T) {
		who := account(t, "512KiB")
		untilFull(t, b, who, mib/2, 128, func(c *harness.Client, i int) *harness.Answer {
			return must(t, c, http.MethodPost, "/v2/"+who.Name+"/app/blobs/uploads/", nil)
		})
	})

	// All that counts over a restart too.
	before := make([]figures, len(all))
	for i, who := range all {
		var err error
		if before[i], _, err = askQuota(who.On(b)); err != nil {
			t.Fatal(err)
		}
	}
	b.Stop()
	b.Restart()
	for i, who := range all {
		harness.Eventually(t, who.Name+" has not what it had", func() bool {
			f, _, err := askQuota(who.On(b))
			return err == nil && f == before[i]
		})
	}
}

// messageOf is what an error of the registry says.
func messageOf(a *harness.Answer) string {
	var answer struct {
		Errors []struct{ Code, Message string }
	}
	if json.Unmarshal(a.Body, &answer) != nil || len(answer.Errors) != 1 {
		return ""
	}
	return answer.Errors[0].Code + ": " + answer.Errors[0].Message
}

// wantNotNow wants a push to be put off, with the reason.
func wantNotNow(t *testing.T, what string, a *harness.Answer, reason string) {
	t.Helper()
	seconds, err := strconv.Atoi(a.Header.Get("Retry-After"))
	if message := messageOf(a); a.Status != http.StatusTooManyRequests || err != nil || seconds <= 0 ||
		!strings.HasPrefix(message, "TOOMANYREQUESTS: ") || !strings.Contains(message, reason) {
		t.Errorf("%s: %d, Retry-After %q, %s", what, a.Status, a.Header.Get("Retry-After"), a.Body)
	}
}

// wantMetric wants a line of the metrics, and its value to be at least that.
func wantMetric(t *testing.T, b *harness.Berth, series string, least float64) {
	t.Helper()
	for line := range strings.Lines(string(b.Get(t, "/metrics", ""))) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), series+" "); ok {
			if got, err := strconv.ParseFloat(value, 64); err != nil || got < least {
				t.Errorf("%s is %s, want %v at least", series, value, least)
			}
			return
		}
	}
	t.Errorf("there is no %s", series)
}

// TestUncollectedIsBounded deletes what it pushes, again and again.
func TestUncollectedIsBounded(t *testing.T) {
	t.Parallel()
	const bound, reason = 8 * mib, "not yet collected"
	b := harness.Start(t, harness.WithEnv("BERTH_LIMITS_UNCOLLECTED=8MiB"))
	bob := harness.AddAccount(t, b, "bob")
	for name, test := range map[string]struct {
		quota []string
		// push pushes about 1 MiB and returns what deletes it again.
		push func(c *harness.Client, repository string) (target string, a *harness.Answer)
	}{
		"images": {[]string{"--quota", "10MiB"}, func(c *harness.Client, repository string) (string, *harness.Answer) {
			image := harness.NewSizedImage("loop", fmt.Sprintf("%x", random(8)), mib)
			for _, blob := range image.Blobs {
				if a := blobInto(t, c, repository, blob); a.Status != http.StatusCreated {
					return "", a
				}
			}
			return "manifests/" + harness.Digest(image.Manifest), must(t, c, http.MethodPut, "/v2/"+repository+"/manifests/v1", image.Manifest, "Content-Type", harness.OCIManifest)
		}},
		"blobs": {[]string{"--quota", "20MiB"}, func(c *harness.Client, repository string) (string, *harness.Answer) {
			content := random(mib)
			return "blobs/" + harness.Digest(content), blobInto(t, c, repository, content)
		}},
		"manifests": {[]string{"--quota", "20MiB"}, func(c *harness.Client, repository string) (string, *harness.Answer) {
			if a := blobInto(t, c, repository, []byte("{}")); a.Status != http.StatusCreated {
				return "", a
			}
			body := artifact(mib, nil)
			return "manifests/" + harness.Digest(body), must(t, c, http.MethodPut, "/v2/"+repository+"/manifests/v1", body, "Content-Type", harness.OCIManifest)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			who := harness.AddAccount(t, b, name, test.quota...)
			c, repository := who.On(b), name+"/app"
			kept := harness.NewSizedImage("kept", name, 1000)
			c.PutImage(t, repository, "kept", kept)
			location, err := c.Upload(repository)
			if err != nil {
				t.Fatal(err)
			}
			before := bytesOnDisk(t, b)
			for i := 0; ; i++ {
				target, a := test.push(c, repository)
				if a.Status == http.StatusTooManyRequests {
					wantNotNow(t, "one push too many", a, reason)
					break
				}
				if a.Status != http.StatusCreated || i > 20 {
					t.Fatalf("push %d: %d %s", i, a.Status, a.Body)
				}
				wantStatus(t, c, http.StatusAccepted, http.MethodDelete, "/v2/"+repository+"/"+target, nil)
				if f, _, err := askQuota(c); err != nil || f.used > counted(once(repository, kept))+2*least {
					t.Errorf("after a deletion, %+v count, %v", f, err)
				}
			}
			if grown := bytesOnDisk(t, b) - before; grown > bound+2*mib {
				t.Errorf("%d bytes came to disk", grown)
			}
			wantNotNow(t, "an upload that goes on", must(t, c, http.MethodPatch, location.String(), random(10), "Content-Type", "application/octet-stream"), reason)
			wantNotNow(t, "a manifest", must(t, c, http.MethodPut, "/v2/"+repository+"/manifests/again", kept.Index, "Content-Type", harness.OCIIndex), reason)
			wantNotNow(t, "a mount", must(t, c, http.MethodPost, "/v2/"+repository+"/blobs/uploads/?from="+repository+"&mount="+harness.Digest(kept.Blobs[0]), nil), reason)
			// All else goes on.
			wantStatus(t, c, http.StatusNoContent, http.MethodDelete, location.String(), nil)
			wantStatus(t, c, http.StatusOK, http.MethodGet, "/v2/"+repository+"/manifests/kept", nil)
			wantStatus(t, c, http.StatusOK, http.MethodGet, "/v2/"+repository+"/blobs/"+harness.Digest(kept.Blobs[0]), nil)
			wantStatus(t, c, http.StatusAccepted, http.MethodDelete, "/v2/"+repository+"/manifests/"+harness.Digest(kept.Index), nil)
		})
	}
	// Who has no quota may store any amount, also of what nothing refers to.
	for range 10 {
		content := random(mib)
		if a := blobInto(t, bob.On(b), "bob/app", content); a.Status != http.StatusCreated {
			t.Fatalf("without a quota: %d %s", a.Status, a.Body)
		}
		wantStatus(t, bob.On(b), http.StatusAccepted, http.MethodDelete, "/v2/bob/app/blobs/"+harness.Digest(content), nil)
	}
	bob.On(b).PutImage(t, "bob/app", "v1", harness.NewImage("kept", "bob"))
	wantMetric(t, b, `berth_refused_pushes_total{reason="uncollected"}`, 9)
	wantMetric(t, b, `berth_stored_bytes{kind="uncollected"}`, 3*bound+10*mib)
	wantMetric(t, b, `berth_stored_bytes{kind="counted"}`, float64(counted(once("bob/app", harness.NewImage("kept", "bob")))))
}
