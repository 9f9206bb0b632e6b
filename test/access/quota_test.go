package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// wantExceeded wants the refusal of a push for which there is no room, in
// words that no one takes for a lack of rights.
func wantExceeded(t testing.TB, what string, a *harness.Answer, limit string) {
	t.Helper()
	var answer struct {
		Errors []struct{ Code, Message string }
	}
	if a.Status != http.StatusForbidden || json.Unmarshal(a.Body, &answer) != nil || len(answer.Errors) != 1 || answer.Errors[0].Code != "DENIED" {
		t.Errorf("%s: got %d %s", what, a.Status, a.Body)
		return
	}
	for _, part := range []string{"exceed", "quota", limit + " used", "needed"} {
		if message := answer.Errors[0].Message; !strings.Contains(message, part) {
			t.Errorf("%s: %q says nothing of %q", what, message, part)
		}
	}
}

// storedBytes adds up what counts of everything in a namespace that the images
// API lists, by the manifests and tags alone.
func storedBytes(t testing.TB, c *harness.Client, namespace string) (bytes int64) {
	t.Helper()
	listed, err := c.Listed("?namespace="+namespace, "")
	if err != nil {
		t.Fatal(err)
	}
	blobs, links, manifests := map[string]int64{}, map[string]bool{}, map[string]bool{}
	var follow func(repository, digest string)
	follow = func(repository, digest string) {
		a := wantStatus(t, c, http.StatusOK, http.MethodGet, "/v2/"+repository+"/manifests/"+digest, nil, "Accept", harness.OCIIndex+", "+harness.OCIManifest)
		if k := repository + "@" + digest; !manifests[k] {
			manifests[k] = true
			bytes += max(int64(len(a.Body)), least)
		}
		var m struct {
			Config            *harness.Descriptor
			Layers, Manifests []harness.Descriptor
		}
		if err := json.Unmarshal(a.Body, &m); err != nil {
			t.Fatalf("%s@%s: %v", repository, digest, err)
		}
		for _, child := range m.Manifests {
			follow(repository, child.Digest)
		}
		if m.Config != nil {
			m.Layers = append(m.Layers, *m.Config)
		}
		for _, d := range m.Layers {
			blobs[d.Digest] = max(d.Size, least)
			links[repository+"@"+d.Digest] = true
		}
	}
	for name, tags := range listed {
		repository, digest, _ := strings.Cut(name, "@")
		follow(repository, digest)
		bytes += int64(len(tags)) * least
	}
	for size := range maps.Values(blobs) {
		bytes += size
	}
	return bytes + int64(len(links)-len(blobs))*least
}

// wantUsed wants all that says how full a namespace is to say the same. loose is
// what counts although no image has it.
func wantUsed(t testing.TB, b *harness.Berth, who harness.Account, used, hard, images int64, loose ...int64) {
	t.Helper()
	c := who.On(b)
	asked, id, err := askQuota(c)
	if want := (figures{used, hard, images}); err != nil || asked != want {
		t.Errorf("the quotas are %+v (%v), want %+v", asked, err, want)
	}
	if _, again, _ := askQuota(c); id == "" || again != id {
		t.Errorf("the quota has the UUIDs %q and %q", id, again)
	}
	if hard == 0 {
		hard = -1 // what Harbor says
	}
	for _, project := range []string{who.Name, harness.RobotName(who.Name), "robot%24" + who.Name + ".users.kraftcloud"} {
		if got, err := askHarbor(c, project); err != nil || got != (figures{used: used, hard: hard}) {
			t.Errorf("Harbor says of %s %+v (%v), want %d of %d", project, got, err, used, hard)
		}
	}
	got, want := storedBytes(t, c, who.Name), used
	for _, bytes := range loose {
		want -= bytes
	}
	if got != want {
		t.Errorf("what is listed comes to %d bytes, and %d count of it", got, want)
	}
	var shown struct {
		Quota *int64
		Used  *struct{ Bytes, Images int64 }
	}
	harness.AccountCommand(t, b, &shown, "show", who.Name)
	if shown.Used == nil || shown.Used.Bytes != used || shown.Used.Images != images {
		t.Errorf("berth account show says %+v, want %d bytes in %d images", shown.Used, used, images)
	}
}

// TestQuotaRace pushes ten images at once of which not all fit.
func TestQuotaRace(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	const hard = 256 << 10
	alice := harness.AddAccount(t, b, "alice", "--quota", "256KiB")
	c := alice.On(b)

	stop := make(chan struct{})
	tooFew, enough := context.WithCancel(t.Context())
	var watching, pushing sync.WaitGroup
	watching.Go(func() {
		defer enough()
		for n := 0; ; n++ {
			if n == 10 {
				enough()
			}
			select {
			case <-stop:
				if n < 10 {
					t.Errorf("looked only %d times", n)
				}
				return
			default:
			}
			f, _, err := askQuota(c)
			h, errHarbor := askHarbor(c, "alice")
			if err := errors.Join(err, errHarbor); err != nil || f.used > hard || h.used > hard || f.hard != hard || h.hard != hard {
				t.Errorf("quotas %+v, Harbor %+v, %v", f, h, err)
				return
			}
		}
	})
	images := make([]harness.Image, 10)
	failed := make([]error, len(images))
	for i := range images {
		images[i] = harness.NewSizedImage("race", fmt.Sprint(i), 60<<10)
		pushing.Go(func() {
			// What is refused comes again while too few have looked.
			for again := true; again; again = failed[i] != nil && tooFew.Err() == nil {
				_, failed[i] = c.Push(fmt.Sprint("alice/app", i), "v1", images[i])
			}
		})
	}
	pushing.Wait()
	close(stop)
	watching.Wait()

	var in []placed
	for i, err := range failed {
		var refusal *harness.Refusal
		switch {
		case err == nil:
			in = append(in, once(fmt.Sprint("alice/app", i), images[i]))
		case errors.As(err, &refusal):
			wantExceeded(t, "a push that is too much", &refusal.Answer, "256.0 KiB")
		default:
			t.Errorf("push %d ended with %v", i, err)
		}
	}
	// Three fit; pushes that are both under way may each see the other's bytes.
	if len(in) > 3 {
		t.Errorf("%d pushes got in", len(in))
	}
	t.Logf("%d of %d got in", len(in), len(images))
	if left := uploadsLeft(t, b); len(left) > 0 {
		t.Errorf("uploads are left: %v", left)
	}
	// What was half-pushed counts until it is deleted; then what fits one after
	// the other gets in.
	for i, err := range failed {
		if err != nil {
			clear(t, c, fmt.Sprint("alice/app", i), images[i])
		}
	}
	wantUsed(t, b, alice, counted(in...), hard, int64(len(in)))
	for i, err := range failed {
		if err != nil && len(in) < 3 {
			c.PutImage(t, fmt.Sprint("alice/app", i), "v1", images[i])
			in = append(in, once(fmt.Sprint("alice/app", i), images[i]))
		}
	}
	wantUsed(t, b, alice, counted(in...), hard, int64(len(in)))
}

// clear deletes whatever of an image has come to a repository, and all its blobs.
func clear(t testing.TB, c *harness.Client, repository string, image harness.Image) {
	t.Helper()
	gone := func(what, digest string) {
		t.Helper()
		a, err := c.Do(http.MethodDelete, "/v2/"+repository+"/"+what+"/"+digest, nil)
		if err != nil || a.Status != http.StatusAccepted && a.Status != http.StatusNotFound {
			t.Errorf("delete %s of %s: %+v, %v", digest, repository, a, err)
		}
	}
	gone("manifests", harness.Digest(image.Index))
	gone("manifests", harness.Digest(image.Manifest))
	for _, blob := range image.Blobs {
		gone("blobs", harness.Digest(blob))
	}
}

// pushAsDocker pushes an image as docker does: what is there is not sent again,
// and what another repository has is mounted.
func pushAsDocker(c *harness.Client, repository, tag string, image harness.Image) error {
	for _, blob := range image.Blobs {
		d := harness.Digest(blob)
		a, err := c.Do(http.MethodHead, "/v2/"+repository+"/blobs/"+d, nil)
		if err != nil {
			return err
		}
		if a.Status == http.StatusOK {
			continue
		}
		if _, err := c.Want(http.StatusCreated, http.MethodPost, "/v2/"+repository+"/blobs/uploads/?mount="+d, nil); err != nil {
			return err
		}
	}
	if err := c.PushManifest(repository, harness.Digest(image.Manifest), harness.OCIManifest, image.Manifest); err != nil {
		return err
	}
	return c.PushManifest(repository, tag, harness.OCIIndex, image.Index)
}

// TestQuotaOneAtATime deletes, shares and pushes again at a quota that
// is full to the last byte.
func TestQuotaOneAtATime(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	one, two, three := harness.NewSizedImage("a", "one", 50000), harness.NewSizedImage("a", "two", 60000), harness.NewSizedImage("a", "three", 70000)
	atOne := placed{"alice/one", one, 2, false}
	mounted := placed{"alice/mounted", two, 1, true}
	full := []placed{atOne, once("alice/two", two), once("alice/deep/er", one), mounted}
	hard := counted(full...)
	alice := harness.AddAccount(t, b, "alice", "--quota", fmt.Sprint(hard))
	bob := harness.AddAccount(t, b, "bob")
	c := alice.On(b)
	limit := fmt.Sprintf("%.1f KiB", float64(hard)/1024)
	push := func(repository, tag string, image harness.Image) {
		t.Helper()
		if err := pushAsDocker(c, repository, tag, image); err != nil {
			t.Error(err)
		}
	}

	wantUsed(t, b, alice, 0, hard, 0)
	first := c.PutImage(t, "alice/one", "v1", one)
	wantUsed(t, b, alice, counted(once("alice/one", one)), hard, 1)
	c.PutImage(t, "alice/two", "v1", two)
	wantUsed(t, b, alice, counted(once("alice/one", one), once("alice/two", two)), hard, 2)

	// What is there comes again: whole, to another repository of the namespace,
	// with another tag, by a mount.
	push("alice/one", "v2", one)
	push("alice/deep/er", "v1", one)
	wantUsed(t, b, alice, counted(atOne, once("alice/two", two), once("alice/deep/er", one)), hard, 3)
	for _, blob := range two.Blobs {
		wantStatus(t, c, http.StatusCreated, http.MethodPost, "/v2/alice/mounted/blobs/uploads/?from=alice/two&mount="+harness.Digest(blob), nil)
	}
	if err := c.PushManifest("alice/mounted", "v1", harness.OCIManifest, two.Manifest); err != nil {
		t.Error(err)
	}
	wantUsed(t, b, alice, hard, hard, 4)
	// It is full to the last byte, and everything that is there may come again.
	push("alice/one", "v1", one)
	push("alice/one", "v2", one)
	push("alice/deep/er", "v1", one)
	wantUsed(t, b, alice, hard, hard, 4)

	// One byte more is too much, wherever it shows.
	refused := func(what string, image harness.Image) {
		t.Helper()
		_, err := c.Push("alice/three", "v1", image)
		var refusal *harness.Refusal
		if !errors.As(err, &refusal) {
			t.Fatalf("%s: %v", what, err)
		}
		wantExceeded(t, what, &refusal.Answer, limit)
	}
	refused("a third image", three)
	refused("an image of a few bytes", harness.NewSizedImage("a", "four", 0))
	a, err := c.Do(http.MethodPut, "/v2/alice/one/manifests/v3", one.Index, "Content-Type", harness.OCIIndex)
	if err != nil {
		t.Fatal(err)
	}
	wantExceeded(t, "one more tag", a, limit)
	// Of a namespace that has room, blobs cannot be mounted either.
	bob.On(b).PutImage(t, "bob/three", "v1", three)
	harness.AccountCommand(t, b, nil, "grant", "alice", "read", "bob")
	for _, blob := range three.Blobs {
		a, err := c.Do(http.MethodPost, "/v2/alice/three/blobs/uploads/?from=bob/three&mount="+harness.Digest(blob), nil)
		if err != nil {
			t.Fatal(err)
		}
		wantExceeded(t, "a mounted blob", a, limit)
	}
	wantStatus(t, c, http.StatusNotFound, http.MethodGet, "/v2/alice/three/manifests/v1", nil)
	wantUsed(t, b, alice, hard, hard, 4)

	// Deleting frees at once, but not what another repository still holds.
	wantStatus(t, c, http.StatusAccepted, http.MethodDelete, "/v2/alice/one/manifests/"+first, nil)
	links := int64(len(one.Blobs)) * least // of alice/one, of blobs that count elsewhere
	rest := []placed{once("alice/two", two), once("alice/deep/er", one), mounted}
	wantUsed(t, b, alice, counted(rest...)+links, hard, 3, links)
	wantStatus(t, c, http.StatusAccepted, http.MethodDelete, "/v2/alice/deep/er/manifests/"+first, nil)
	rest = []placed{once("alice/two", two), mounted}
	links = 2 * least // of the kernel, which one and two have
	wantUsed(t, b, alice, counted(rest...)+links, hard, 2, links)
	c.PutImage(t, "alice/one", "v1", one)
	rest = append(rest, once("alice/one", one))
	links = int64(len(one.Blobs)) * least // of alice/deep/er
	wantUsed(t, b, alice, counted(rest...)+links, hard, 3, links)

	// Without its quota the account may push; with a smaller one it may not,
	// and still pull and delete.
	setQuota(t, b, alice, "")
	c.PutImage(t, "alice/three", "v1", three)
	wantUsed(t, b, alice, counted(append(rest, once("alice/three", three))...)+links, 0, 4, links)
	setQuota(t, b, alice, fmt.Sprintf("    quota: %d\n", hard))
	refused("over the quota already", harness.NewSizedImage("a", "five", 0))
	wantUsed(t, b, alice, counted(append(rest, once("alice/three", three))...)+links, hard, 4, links)
	wantStatus(t, c, http.StatusAccepted, http.MethodDelete, "/v2/alice/three/manifests/"+harness.Digest(three.Index), nil)
	wantUsed(t, b, alice, counted(rest...)+links+least, hard, 3, links+least) // and the kernel's in alice/three
	wantUsed(t, b, bob, counted(once("bob/three", three)), 0, 1)
	if left := uploadsLeft(t, b); len(left) > 0 {
		t.Errorf("uploads are left: %v", left)
	}
}

// setQuota changes a quota by hand, to a line of the file or none.
func setQuota(t testing.TB, b *harness.Berth, who harness.Account, line string) {
	t.Helper()
	path := filepath.Join(b.Data, "accounts.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	entry := regexp.MustCompile(`(?m)^(  - name: ` + who.Name + `\n)(    quota: .*\n)?`)
	if err := os.WriteFile(path, entry.ReplaceAll(text, []byte("${1}"+line)), 0o600); err != nil {
		t.Fatal(err)
	}
}
