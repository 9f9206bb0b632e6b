package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
)

const (
	registryTop  = "/docker/registry/v2"
	repositories = registryTop + "/repositories/"
)

func blobPath(d digest.Digest) string {
	return registryTop + "/blobs/sha256/" + d.Encoded()[:2] + "/" + d.Encoded() + "/data"
}

func layerLink(repository string, d digest.Digest) string {
	return repositories + repository + "/_layers/sha256/" + d.Encoded() + "/link"
}

func revisionLink(repository string, d digest.Digest) string {
	return repositories + repository + "/_manifests/revisions/sha256/" + d.Encoded() + "/link"
}

func tagFolder(repository, tag string) string {
	return repositories + repository + "/_manifests/tags/" + tag
}

// day does with a driver what a registry does in a day, as several clients, and
// remembers what they were promised.
type day struct {
	driver *Driver
	salt   string // in every content, so that a day is not like the one before

	mu sync.Mutex
	// promised is what must be at a path: one of several contents where the
	// answer was an error or has not come yet; "" is nothing at all.
	promised map[string][]string
}

func newDay(d *Driver) *day { return &day{driver: d, promised: map[string][]string{}} }

// change does something that makes of what is at some paths the contents that
// wanted has, "" for nothing, and does it again when it fails, as clients do.
func (d *day) change(wanted map[string]string, do func() error) error {
	var err error
	for range 3 {
		d.mu.Lock()
		for p, content := range wanted {
			before, ok := d.promised[p]
			if !ok {
				before = []string{""}
			}
			if !slices.Contains(before, content) {
				d.promised[p] = append(slices.Clone(before), content)
			}
		}
		d.mu.Unlock()
		if err = do(); err == nil {
			d.mu.Lock()
			for p, content := range wanted {
				d.promised[p] = []string{content}
			}
			d.mu.Unlock()
			return nil
		}
	}
	return err
}

func (d *day) put(p, content string) error {
	return d.change(map[string]string{p: content}, func() error { return d.driver.PutContent(context.Background(), p, []byte(content)) })
}

// delete deletes a file, or a folder with all that was promised below it.
func (d *day) delete(p string) error {
	all := func() error {
		err := d.driver.Delete(context.Background(), p)
		if isMissing(err) {
			return nil
		}
		return err
	}
	d.mu.Lock()
	gone := map[string]string{p: ""}
	for below := range d.promised {
		if strings.HasPrefix(below, p+"/") {
			gone[below] = ""
		}
	}
	d.mu.Unlock()
	return d.change(gone, all)
}

// upload is what distribution does with a blob: in two requests, of which the
// second asks first whether the blob is there already.
func (d *day) upload(repository, id, content string) error {
	content += d.salt
	ctx, dgst := context.Background(), digest.FromString(content)
	wanted := map[string]string{layerLink(repository, dgst): dgst.String(), blobPath(dgst): content}
	return d.change(wanted, func() error {
		folder := repositories + repository + "/_uploads/" + id
		if err := d.receive(folder, content); err != nil {
			return errors.Join(err, d.driver.Delete(ctx, folder))
		}
		_, err := d.driver.Stat(ctx, blobPath(dgst))
		if isMissing(err) {
			err = d.driver.Move(ctx, folder+"/data", blobPath(dgst))
		}
		if err == nil {
			err = d.driver.PutContent(ctx, layerLink(repository, dgst), []byte(dgst))
		}
		if err == nil {
			err = d.driver.Delete(ctx, folder)
		}
		return err
	})
}

func (d *day) receive(folder, content string) error {
	ctx := context.Background()
	if err := d.driver.PutContent(ctx, folder+"/startedat", []byte("now")); err != nil {
		return err
	}
	half := len(content) / 2
	for i, piece := range []string{content[:half], content[half:]} {
		w, err := d.driver.Writer(ctx, folder+"/data", i > 0)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(w, piece); err != nil {
			return err
		}
		if i > 0 {
			if err := w.Commit(ctx); err != nil {
				return errors.Join(err, w.Close())
			}
		}
		err = d.driver.PutContent(ctx, fmt.Sprintf("%s/hashstates/sha256/%d", folder, w.Size()), []byte("state"))
		if err := errors.Join(err, w.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (d *day) manifest(repository, tag, content string) error {
	content += d.salt
	dgst := digest.FromString(content)
	folder := tagFolder(repository, tag)
	for _, file := range [][2]string{
		{blobPath(dgst), content}, {revisionLink(repository, dgst), dgst.String()},
		{folder + "/index/sha256/" + dgst.Encoded() + "/link", dgst.String()}, {folder + "/current/link", dgst.String()},
	} {
		if err := d.put(file[0], file[1]); err != nil {
			return err
		}
	}
	return nil
}

// run is the whole day. It returns the errors that stayed after trying again.
func (d *day) run() error {
	var errs [3]error
	together := func(all ...func() error) {
		var wait sync.WaitGroup
		for i, do := range all {
			wait.Go(func() { errs[i] = errors.Join(errs[i], do()) })
		}
		wait.Wait()
	}
	together(
		func() error { return d.upload("a/app", "1", "the same layer") },
		func() error { return d.upload("b/app", "2", "the same layer") },
		func() error { return d.upload("a/app", "3", "another layer") },
	)
	together(
		func() error { return d.manifest("a/app", "v1", "first manifest") },
		func() error { return d.manifest("b/app", "v1", "first manifest") },
	)
	together(
		func() error { return d.manifest("a/app", "v1", "second manifest") },
		func() error { return d.upload("c", "4", "the same layer") },
	)
	first := digest.FromString("first manifest" + d.salt)
	together(
		func() error { return d.delete(revisionLink("b/app", first)) },
		func() error { return d.delete(tagFolder("a/app", "v1")) },
		func() error {
			same := digest.FromString("the same layer" + d.salt)
			return d.put(layerLink("c", same), same.String())
		},
	)
	together(func() error { return d.manifest("b/app", "v1", "second manifest") })
	return errors.Join(errs[:]...)
}

// check wants what a crash left to hold what was promised, once a driver was
// opened on it, and blobs whole.
func (d *day) check(left *memory) error {
	if err := reopen(left); err != nil {
		return err
	}
	d.mu.Lock()
	promised := maps.Clone(d.promised)
	d.mu.Unlock()
	for p, allowed := range promised {
		got := ""
		if n, err := left.find(p[1:]); err == nil && !n.dir {
			got = string(n.data)
		}
		if !slices.Contains(allowed, got) {
			return fmt.Errorf("%s: got %q, promised %q", p, got, allowed)
		}
	}
	return hashed(left)
}

// reopen opens a driver on what a crash left, and crashes it at once.
func reopen(left *memory) error {
	d, err := open(left, Options{segment: daySegment})
	if err != nil {
		return fmt.Errorf("open what a crash left: %w", err)
	}
	d.cleaning.stop()
	return nil
}

// daySegment is the size of a segment in bytes: a day fills several.
const daySegment = 32 << 10

// hashed wants nothing in a blob's place but its bytes, and no state of an
// upload's hash without the bytes that it is of.
func hashed(m *memory) error {
	return walk(m.root, "", func(p string, n *node) error {
		folder, _, isState := strings.Cut(p, "/hashstates/sha256/")
		switch {
		case strings.Contains(p, "/blobs/") && strings.HasSuffix(p, "/data"):
			if want := blobPath(digest.FromBytes(n.data)); want != p {
				return fmt.Errorf("%s holds %q", p, n.data)
			}
		case isState:
			var size int
			if _, err := fmt.Sscan(path.Base(p), &size); err != nil {
				return err
			}
			data, err := m.find(folder[1:] + "/data")
			if err == nil && len(data.data) >= size && strings.Contains(string(data.data[:size]), "\x00") {
				return fmt.Errorf("%s is of bytes that are lost", p)
			}
		}
		return nil
	})
}

func walk(n *node, p string, fn func(string, *node) error) error {
	for name, below := range n.entries {
		if ours(name) {
			continue // it is removed at the next start
		}
		if below.dir {
			if err := walk(below, p+"/"+name, fn); err != nil {
				return err
			}
		} else if err := fn(p+"/"+name, below); err != nil {
			return err
		}
	}
	return nil
}

// kinds are the ways to make durable what is in the file tree.
func kinds(t *testing.T, fn func(t *testing.T, newMemory func() *memory)) {
	for name, set := range map[string]func(m *memory){
		"barrier": func(*memory) {}, "folders": func(m *memory) { m.noSyncfs = true },
		"copies": func(m *memory) { m.noLinks = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fn(t, func() *memory {
				m := newMemory()
				set(m)
				return m
			})
		})
	}
}

// crashDay runs a day and crashes it after every call of the file system, twice:
// once with all lost that may be, and once in so many with part of it.
func crashDay(t *testing.T, m *memory, seed uint64, every int) (err error, stayed error) {
	t.Helper()
	// What is larger than that goes through the stage: nothing, some, or all.
	driver, openErr := open(m, Options{segment: daySegment, small: []int{0, 14, 1}[seed%3]})
	if openErr != nil {
		t.Fatal(openErr)
	}
	d := newDay(driver)
	chance := rand.New(rand.NewPCG(seed, 0))
	m.mu.Lock()
	m.after = func(what string) {
		for _, luck := range []*rand.Rand{nil, chance} {
			// Only a sync changes what is sure to be left.
			if luck == nil && !strings.HasPrefix(what, "sync ") || luck != nil && chance.IntN(every) > 0 {
				continue
			}
			if wrong := d.check(m.crashed(luck)); wrong != nil && err == nil {
				err = fmt.Errorf("after call %d (%s): %w", m.calls, what, wrong)
			}
		}
	}
	m.mu.Unlock()
	stayed = d.run()
	m.mu.Lock()
	defer m.mu.Unlock()
	if wrong := d.check(m.crashed(nil)); wrong != nil && err == nil {
		err = fmt.Errorf("at the end: %w", wrong)
	}
	return err, stayed
}

// TestCrashAnywhere cuts a day at every point: what was answered is there.
func TestCrashAnywhere(t *testing.T) {
	kinds(t, func(t *testing.T, newMemory func() *memory) {
		for seed := range uint64(thorough(20, 3)) {
			m := newMemory()
			if err, stayed := crashDay(t, m, seed, 1); err != nil || stayed != nil {
				t.Fatalf("seed %d: %v; %v", seed, err, stayed)
			}
			if calls, syncs := m.counted(); syncs < 20 || calls < 100 {
				t.Fatalf("only %d calls and %d syncs: nothing happened", calls, syncs)
			}
		}
	})
}

// TestSyncFailsAnywhere lets each sync of a day fail, and some in a row, and
// wants the same.
func TestSyncFailsAnywhere(t *testing.T) {
	kinds(t, func(t *testing.T, newMemory func() *memory) {
		whole := newMemory()
		if err, stayed := crashDay(t, whole, 0, 1); err != nil || stayed != nil {
			t.Fatal(err, stayed)
		}
		step := thorough(1, 7)
		_, syncs := whole.counted()
		for n := 1; n <= syncs; n += step {
			for row := 1; row <= 3; row++ {
				if row > 1 && n%4 != row {
					continue // each in a row of its own, now and then in a longer one
				}
				m := newMemory()
				m.failSync = func(i int) bool { return i >= n && i < n+row }
				err, stayed := crashDay(t, m, uint64(n), 8)
				if err != nil {
					t.Fatalf("sync %d and %d more fail: %v", n, row-1, err)
				}
				if stayed != nil && row == 1 {
					t.Fatalf("sync %d fails once, and trying again does not help: %v", n, stayed)
				}
			}
		}
	})
}

// TestCrashSeen checks that the day sees what it is there for: a file system
// whose syncs of one kind do nothing does not pass.
func TestCrashSeen(t *testing.T) {
	for kind, grouped := range map[string]bool{"Sync": false, "datasync": false, "barrier": false, "syncDir": true} {
		seen := false
		for seed := uint64(0); seed < 20 && !seen; seed++ {
			m := newMemory()
			m.noSyncfs, m.lie = grouped, map[string]bool{kind: true}
			err, _ := crashDay(t, m, seed, 1)
			seen = err != nil
		}
		if !seen {
			t.Errorf("%s does nothing, and nothing is missed", kind)
		}
	}
}
