package access

import (
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
)

// TestUnfinishedUploadsOfAKnownBlob: that the namespace has the blob already makes
// its bytes no smaller.
func TestUnfinishedUploadsOfAKnownBlob(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	alice := harness.AddAccount(t, b, "alice", "--quota", "10MiB")
	c, content := alice.On(b), random(3*mib)
	if a := blobInto(t, c, "alice/app", content); a.Status != http.StatusCreated {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	for range 2 {
		location, err := c.Upload("alice/app")
		if err != nil {
			t.Fatal(err)
		}
		w := wireTo(t, b, alice, http.MethodPut, harness.WithDigest(location, harness.Digest(content)), int64(len(content)))
		w.send(content[:len(content)-1])
	}
	harness.Eventually(t, "the uploads do not count", func() bool {
		f, _, err := askQuota(c)
		return err == nil && f.used >= 9*mib-2*piece
	})
	location, err := c.Upload("alice/app")
	if err != nil {
		t.Fatal(err)
	}
	w := wireTo(t, b, alice, http.MethodPut, harness.WithDigest(location, harness.Digest(content)), int64(len(content)))
	wantExceeded(t, "a third upload of it", w.answer(time.Minute), "10.0 MiB")
}

// TestOpenUploadsAreBounded: also of who has no quota, and over a restart.
func TestOpenUploadsAreBounded(t *testing.T) {
	t.Parallel()
	b := harness.Start(t, harness.WithEnv("BERTH_LIMITS_OPEN_UPLOADS=3"))
	alice, bob := harness.AddAccount(t, b, "alice"), harness.AddAccount(t, b, "bob", "--quota", "1MiB")
	bob.On(b).PutImage(t, "bob/app", "v1", harness.NewImage("open", "bob"))
	begin := func(who harness.Account) *harness.Answer {
		return must(t, who.On(b), http.MethodPost, "/v2/"+who.Name+"/app/blobs/uploads/", nil)
	}
	var open []*harness.Answer
	for _, who := range []harness.Account{alice, bob} {
		for range 3 {
			a := begin(who)
			if a.Status != http.StatusAccepted {
				t.Fatalf("%d %s", a.Status, a.Body)
			}
			open = append(open, a)
		}
		wantNotNow(t, "one upload too many of "+who.Name, begin(who), "3 uploads that are not finished")
		wantNotNow(t, "one too many in one request", blobInto(t, who.On(b), who.Name+"/app", []byte("x")), "3 uploads that are not finished")
	}
	wantNotNow(t, "one too many elsewhere", must(t, alice.On(b), http.MethodPost, "/v2/alice/elsewhere/blobs/uploads/", nil), "3 uploads that are not finished")
	wantMetric(t, b, "berth_open_uploads", 6)
	wantMetric(t, b, `berth_refused_pushes_total{reason="open_uploads"}`, 5)

	chunk := must(t, bob.On(b), http.MethodPatch, locationOf(t, b, open[5]), random(100<<10), "Content-Type", "application/octet-stream")
	used := func() int64 {
		f, _, err := askQuota(bob.On(b))
		if err != nil {
			t.Error(err)
		}
		return f.used
	}
	before := used()
	b.Stop()
	if left := uploadsLeft(t, b); len(left) != 6 {
		t.Errorf("uploads: %v", left)
	}
	// Who is refused leaves nothing behind.
	if found, err := filepath.Glob(filepath.Join(b.Data, "storage", "docker", "registry", "v2", "repositories", "alice", "*")); err != nil || len(found) != 1 {
		t.Errorf("repositories of alice: %v, %v", found, err)
	}
	b.Restart()
	harness.Eventually(t, "what was open before the restart does not count", func() bool { return used() == before })
	wantNotNow(t, "one too many after a restart", begin(bob), "3 uploads that are not finished")
	harness.Eventually(t, "alice's uploads do not count", func() bool { return begin(alice).Status == http.StatusTooManyRequests })

	// One that ends, in whichever way, makes room for another.
	wantStatus(t, bob.On(b), http.StatusNoContent, http.MethodDelete, locationOf(t, b, open[3]), nil)
	if a := begin(bob); a.Status != http.StatusAccepted {
		t.Errorf("after one was cancelled: %d %s", a.Status, a.Body)
	}
	u, err := url.Parse(locationOf(t, b, open[4]))
	if err != nil {
		t.Fatal(err)
	}
	content := []byte("finished")
	wantStatus(t, bob.On(b), http.StatusCreated, http.MethodPut, harness.WithDigest(u, harness.Digest(content)), content, "Content-Type", "application/octet-stream")
	if a := begin(bob); a.Status != http.StatusAccepted {
		t.Errorf("after one was finished: %d %s", a.Status, a.Body)
	}
	wantNotNow(t, "one too many again", begin(bob), "3 uploads that are not finished")
	wantStatus(t, bob.On(b), http.StatusNoContent, http.MethodDelete, locationOf(t, b, chunk), nil)
}

// locationOf is where an upload goes on.
func locationOf(t *testing.T, b *harness.Berth, a *harness.Answer) string {
	t.Helper()
	base, err := url.Parse(b.URL)
	if err != nil {
		t.Fatal(err)
	}
	u, err := base.Parse(a.Header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	return u.String()
}

// piece is how much of an upload, in bytes, may have come without being counted yet.
const piece = 256 << 10

// TestQuotaRoomForTwo pushes while another upload is under way: the two
// fit, so neither may be refused, and only what was received counts.
func TestQuotaRoomForTwo(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	alice := harness.AddAccount(t, b, "alice", "--quota", "4MiB")
	c := alice.On(b)
	location, err := c.Upload("alice/slow")
	if err != nil {
		t.Fatal(err)
	}
	const part, whole = 300 << 10, 640 << 10
	content := slices.Repeat([]byte{'x'}, whole)
	image := harness.NewSizedImage("b", "two", 960<<10)
	var before int64
	for name, length := range map[string]int64{"with": whole, "without": -1} {
		t.Run(name+" a declared length", func(t *testing.T) {
			wire := wireTo(t, b, alice, http.MethodPut, harness.WithDigest(location, harness.Digest(content)), length)
			wire.send(content[:part])
			harness.Eventually(t, "nothing of the upload is counted", func() bool {
				f, _, err := askQuota(c)
				return err == nil && f.used > before+least
			})
			// What is still in a buffer may count as well.
			if f, _, err := askQuota(c); err != nil || f.used > before+part+piece {
				t.Errorf("of an upload of which %d bytes came, %d count (%v)", part, f.used-before, err)
			}
			if _, err := c.Push("alice/fast", "v1", image); err != nil {
				t.Errorf("there is room, but: %v", err)
			}
			wire.send(content[part:])
			wire.end()
			if a := wire.answer(time.Minute); a.Status != http.StatusCreated {
				t.Errorf("the slow upload ended with %d %s", a.Status, a.Body)
			}
			before = counted(once("alice/fast", image)) + whole
			wantUsed(t, b, alice, before, 4<<20, 1, whole)
			if location, err = c.Upload("alice/slow"); err != nil {
				t.Fatal(err)
			}
		})
	}
}
