package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// accountsExceeded wants the refusal of a push for which there is no room, in
// words that no one takes for a lack of rights.
func accountsExceeded(t testing.TB, what string, a *rawAnswer, limit string) {
	t.Helper()
	var answer struct {
		Errors []struct{ Code, Message string }
	}
	if a.status != http.StatusForbidden || json.Unmarshal(a.body, &answer) != nil || len(answer.Errors) != 1 || answer.Errors[0].Code != "DENIED" {
		t.Errorf("%s: got %d %s", what, a.status, a.body)
		return
	}
	for _, part := range []string{"exceed", "quota", limit + " used", "needed"} {
		if message := answer.Errors[0].Message; !strings.Contains(message, part) {
			t.Errorf("%s: %q says nothing of %q", what, message, part)
		}
	}
}

// accountsStored adds up the blobs of everything in a namespace that the images
// API lists, each counted once, by the manifests alone.
func accountsStored(t testing.TB, c *rawClient, namespace string) (bytes int64) {
	t.Helper()
	listed, err := c.listed("?namespace="+namespace, "")
	if err != nil {
		t.Fatal(err)
	}
	blobs := map[string]int64{}
	var follow func(repository, digest string)
	follow = func(repository, digest string) {
		a := accountsStatus(t, c, http.StatusOK, http.MethodGet, "/v2/"+repository+"/manifests/"+digest, nil, "Accept", rawOCIIndex+", "+rawOCIManifest)
		var m struct {
			Config            *rawDescriptor
			Layers, Manifests []rawDescriptor
		}
		if err := json.Unmarshal(a.body, &m); err != nil {
			t.Fatalf("%s@%s: %v", repository, digest, err)
		}
		for _, child := range m.Manifests {
			follow(repository, child.Digest)
		}
		if m.Config != nil {
			m.Layers = append(m.Layers, *m.Config)
		}
		for _, d := range m.Layers {
			blobs[d.Digest] = d.Size
		}
	}
	for name := range listed {
		repository, digest, _ := strings.Cut(name, "@")
		follow(repository, digest)
	}
	for size := range maps.Values(blobs) {
		bytes += size
	}
	return bytes
}

// accountsUsed wants all that says how full a namespace is to say the same.
func accountsUsed(t testing.TB, b *Berth, who accountsTenant, used, hard, images int64) {
	t.Helper()
	c := who.on(b)
	got, id, err := accountsQuota(c)
	if want := (accountsFigures{used, hard, images}); err != nil || got != want {
		t.Errorf("the quotas are %+v (%v), want %+v", got, err, want)
	}
	if _, again, _ := accountsQuota(c); id == "" || again != id {
		t.Errorf("the quota has the UUIDs %q and %q", id, again)
	}
	if hard == 0 {
		hard = -1 // what Harbor says
	}
	for _, project := range []string{who.Name, accountsRobot(who.Name), "robot%24" + who.Name + ".users.kraftcloud"} {
		if got, err := accountsHarbor(c, project); err != nil || got != (accountsFigures{used: used, hard: hard}) {
			t.Errorf("Harbor says of %s %+v (%v), want %d of %d", project, got, err, used, hard)
		}
	}
	if got := accountsStored(t, c, who.Name); got != used {
		t.Errorf("what is listed comes to %d bytes, and %d count", got, used)
	}
	var shown struct {
		Quota *int64
		Used  *struct{ Bytes, Images int64 }
	}
	accountsCommand(t, b, &shown, "show", who.Name)
	if shown.Used == nil || shown.Used.Bytes != used || shown.Used.Images != images {
		t.Errorf("berth account show says %+v, want %d bytes in %d images", shown.Used, used, images)
	}
}

// TestAccountsQuotaRace pushes ten images at once of which not all fit.
func TestAccountsQuotaRace(t *testing.T) {
	t.Parallel()
	b := start(t)
	const hard = 256 << 10
	alice := accountsAdd(t, b, "alice", "--quota", "256KiB")
	c := alice.on(b)

	stop := make(chan struct{})
	var watching, pushing sync.WaitGroup
	watching.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				if n < 10 {
					t.Errorf("looked only %d times", n)
				}
				return
			default:
			}
			f, _, err := accountsQuota(c)
			h, errHarbor := accountsHarbor(c, "alice")
			if err := errors.Join(err, errHarbor); err != nil || f.used > hard || h.used > hard || f.hard != hard || h.hard != hard {
				t.Errorf("quotas %+v, Harbor %+v, %v", f, h, err)
				return
			}
		}
	})
	images := make([]rawImage, 10)
	failed := make([]error, len(images))
	for i := range images {
		images[i] = accountsImage("race", fmt.Sprint(i), 60<<10)
		pushing.Go(func() { _, failed[i] = c.push(fmt.Sprint("alice/app", i), "v1", images[i]) })
	}
	pushing.Wait()
	close(stop)
	watching.Wait()

	var in []rawImage
	for i, err := range failed {
		var refusal *rawRefusal
		switch {
		case err == nil:
			in = append(in, images[i])
		case errors.As(err, &refusal):
			accountsExceeded(t, "a push that is too much", &refusal.rawAnswer, "256.0 KiB")
		default:
			t.Errorf("push %d ended with %v", i, err)
		}
	}
	// Four fit; pushes that are both under way may each see the other's bytes.
	if len(in) < 1 || len(in) > 4 {
		t.Errorf("%d pushes got in", len(in))
	}
	t.Logf("%d of %d got in", len(in), len(images))
	accountsUsed(t, b, alice, accountsBytes(in...), hard, int64(len(in)))
	if left := accountsUploads(t, b); len(left) > 0 {
		t.Errorf("uploads are left: %v", left)
	}
	// Nothing half-pushed is in the way: what fits one after the other gets in.
	for i, err := range failed {
		if err != nil && len(in) < 4 {
			c.putImage(t, fmt.Sprint("alice/app", i), "v1", images[i])
			in = append(in, images[i])
		}
	}
	accountsUsed(t, b, alice, accountsBytes(in...), hard, int64(len(in)))
}

// TestAccountsQuotaOneAtATime deletes, shares and pushes again at a quota that
// is full to the last byte.
func TestAccountsQuotaOneAtATime(t *testing.T) {
	t.Parallel()
	b := start(t)
	one, two, three := accountsImage("a", "one", 50000), accountsImage("a", "two", 60000), accountsImage("a", "three", 70000)
	hard := accountsBytes(one, two)
	alice := accountsAdd(t, b, "alice", "--quota", fmt.Sprint(hard))
	bob := accountsAdd(t, b, "bob")
	c := alice.on(b)
	limit := fmt.Sprintf("%.1f KiB", float64(hard)/1024)

	accountsUsed(t, b, alice, 0, hard, 0)
	first := c.putImage(t, "alice/one", "v1", one)
	accountsUsed(t, b, alice, accountsBytes(one), hard, 1)
	c.putImage(t, "alice/two", "v1", two)
	accountsUsed(t, b, alice, hard, hard, 2)

	// Everything that is there may come again: whole, to another repository of
	// the namespace, with another tag, by a mount.
	c.putImage(t, "alice/one", "v1", one)
	c.putImage(t, "alice/one", "v2", one)
	c.putImage(t, "alice/deep/er", "v1", one)
	accountsUsed(t, b, alice, hard, hard, 3)
	for _, blob := range two.blobs {
		accountsStatus(t, c, http.StatusCreated, http.MethodPost, "/v2/alice/mounted/blobs/uploads/?from=alice/two&mount="+rawDigest(blob), nil)
	}
	if err := c.pushManifest("alice/mounted", "v1", rawOCIManifest, two.manifest); err != nil {
		t.Error(err)
	}
	accountsUsed(t, b, alice, hard, hard, 4)

	// One byte more is too much, wherever it shows.
	refused := func(what string, image rawImage) {
		t.Helper()
		_, err := c.push("alice/three", "v1", image)
		var refusal *rawRefusal
		if !errors.As(err, &refusal) {
			t.Fatalf("%s: %v", what, err)
		}
		accountsExceeded(t, what, &refusal.rawAnswer, limit)
	}
	refused("a third image", three)
	refused("an image of a few bytes", accountsImage("a", "four", 0))
	// Of a namespace that has room, blobs can be mounted, but not kept.
	bob.on(b).putImage(t, "bob/three", "v1", three)
	accountsCommand(t, b, nil, "grant", "alice", "read", "bob")
	for _, blob := range three.blobs {
		accountsStatus(t, c, http.StatusCreated, http.MethodPost, "/v2/alice/three/blobs/uploads/?from=bob/three&mount="+rawDigest(blob), nil)
	}
	accountsUsed(t, b, alice, hard, hard, 4)
	a, err := c.do(http.MethodPut, "/v2/alice/three/manifests/v1", three.manifest, "Content-Type", rawOCIManifest)
	if err != nil {
		t.Fatal(err)
	}
	accountsExceeded(t, "a manifest of mounted blobs", a, limit)
	accountsStatus(t, c, http.StatusNotFound, http.MethodGet, "/v2/alice/three/manifests/v1", nil)
	accountsUsed(t, b, alice, hard, hard, 4)

	// Deleting frees at once, but not what another repository still holds.
	accountsStatus(t, c, http.StatusAccepted, http.MethodDelete, "/v2/alice/one/manifests/"+first, nil)
	accountsUsed(t, b, alice, hard, hard, 3)
	accountsStatus(t, c, http.StatusAccepted, http.MethodDelete, "/v2/alice/deep/er/manifests/"+first, nil)
	accountsUsed(t, b, alice, accountsBytes(two), hard, 2)
	c.putImage(t, "alice/one", "v1", one)
	accountsUsed(t, b, alice, hard, hard, 3)

	// Without its quota the account may push; with a smaller one it may not,
	// and still pull and delete.
	accountsSetQuota(t, b, alice, "")
	c.putImage(t, "alice/three", "v1", three)
	accountsUsed(t, b, alice, accountsBytes(one, two, three), 0, 4)
	accountsSetQuota(t, b, alice, fmt.Sprintf("    quota: %d\n", hard))
	refused("over the quota already", accountsImage("a", "five", 0))
	accountsUsed(t, b, alice, accountsBytes(one, two, three), hard, 4)
	accountsStatus(t, c, http.StatusAccepted, http.MethodDelete, "/v2/alice/three/manifests/"+rawDigest(three.index), nil)
	accountsUsed(t, b, alice, hard, hard, 3)
	accountsUsed(t, b, bob, accountsBytes(three), 0, 1)
	if left := accountsUploads(t, b); len(left) > 0 {
		t.Errorf("uploads are left: %v", left)
	}
}

// accountsSetQuota changes a quota by hand, to a line of the file or none.
func accountsSetQuota(t testing.TB, b *Berth, who accountsTenant, line string) {
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

// TestAccountsQuotaRoomForTwo pushes while another upload is under way: the two
// fit, so neither may be refused, and only what was received counts.
func TestAccountsQuotaRoomForTwo(t *testing.T) {
	t.Parallel()
	b := start(t)
	alice := accountsAdd(t, b, "alice", "--quota", "256KiB")
	c := alice.on(b)
	location, err := c.upload("alice/slow")
	if err != nil {
		t.Fatal(err)
	}
	const part, whole = 10 << 10, 40 << 10
	content := slices.Repeat([]byte{'x'}, whole)
	for name, length := range map[string]int64{"with": whole, "without": -1} {
		t.Run(name+" a declared length", func(t *testing.T) {
			wire := accountsWireTo(t, b, alice, http.MethodPut, withDigest(location, rawDigest(content)), length)
			wire.send(content[:part])
			eventually(t, "nothing of the upload is counted", func() bool {
				f, _, err := accountsQuota(c)
				return err == nil && f.used > 0
			})
			// What is still in a buffer may count as well.
			if f, _, err := accountsQuota(c); err != nil || f.used > part+64<<10 {
				t.Errorf("of an upload of which %d bytes came, %d count (%v)", part, f.used, err)
			}
			image := accountsImage("b", "two", 60<<10)
			if _, err := c.push("alice/fast", "v1", image); err != nil {
				t.Errorf("there is room, but: %v", err)
			}
			wire.send(content[part:])
			wire.end()
			if a := wire.answer(time.Minute); a.status != http.StatusCreated {
				t.Errorf("the slow upload ended with %d %s", a.status, a.body)
			}
			accountsUsed(t, b, alice, accountsBytes(image), 256<<10, 1)
			if location, err = c.upload("alice/slow"); err != nil {
				t.Fatal(err)
			}
		})
	}
}
