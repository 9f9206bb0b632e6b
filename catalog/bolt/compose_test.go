package bolt

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// TestQueueOfAnotherProcess: indexes that had still to be looked at when a process
// died are listed after the next start.
func TestQueueOfAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	x, err := Build(path, place1, empty)
	if err != nil {
		t.Fatal(err)
	}
	const parents = 3*maxFollowed + 1
	child := sampleOf(0).manifest
	u := index.Update{}
	for i := range parents {
		u.Put = append(u.Put, image.Description{
			Digest: dgst(fmt.Sprint(i)), MediaType: "application/vnd.oci.image.index.v1+json",
			Children: []digest.Digest{child.Digest}, Members: []image.Member{{Digest: child.Digest}},
		})
	}
	publish := func(u index.Update) error {
		return x.update("test", func(s *session) error {
			r, err := s.change("a/b")
			if err != nil {
				return err
			}
			return r.publish(u) // and not what follows it
		})
	}
	if err := publish(u); err != nil {
		t.Fatal(err)
	}
	if err := publish(index.Update{Put: []image.Description{child}}); err != nil {
		t.Fatal(err)
	}
	listed := func() (n int) {
		t.Helper()
		for cursor, first := index.Cursor(""), true; first || cursor != ""; first = false {
			entries, next, err := x.List(t.Context(), index.Query{}, cursor, 2*parents)
			if err != nil {
				t.Fatal(err)
			}
			n, cursor = n+len(entries), next
		}
		return n
	}
	if n := listed(); n != maxFollowed {
		t.Fatalf("one transaction lists %d of %d indexes", n, parents)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	if x, err = Open(path, place1); err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if n := listed(); n != parents {
		t.Fatalf("%d of %d indexes are listed", n, parents)
	}
}

// alike is a digest that begins like another one, as nobody can find any.
func alike(d digest.Digest) digest.Digest {
	return digest.Digest(string(d[:len(d)-8]) + "00000000")
}

// TestAlike has two manifests, and two blobs, whose digests begin alike: each is
// found, and stays when the other goes.
func TestAlike(t *testing.T) {
	x, ctx := build(t, empty), t.Context()
	one := sampleOf(1).manifest
	other := one
	other.Digest = alike(one.Digest)
	blob := one.Blobs[0].Digest
	change := func(u index.Update) {
		t.Helper()
		l, err := x.Acquire(ctx, "a/b")
		if err == nil {
			_, err = x.Publish(ctx, l, u)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Release(ctx, l); err != nil {
			t.Fatal(err)
		}
	}
	change(index.Update{Put: []image.Description{one, other}, Link: map[digest.Digest]int64{blob: 1, alike(blob): 2}})
	check := func(d digest.Digest, referring int) {
		t.Helper()
		for _, found := range []func() (index.Entry, error){
			func() (index.Entry, error) { return x.ByUUID(ctx, index.ImageUUID("a/b", d), nil) },
			func() (index.Entry, error) { return x.Entry(ctx, "a/b", d) },
			func() (index.Entry, error) {
				all, err := x.ByDigest(ctx, d, nil, "", 9)
				if len(all) != 1 {
					return index.Entry{}, err
				}
				return all[0], err
			},
		} {
			if e, err := found(); err != nil || e.Digest != d {
				t.Errorf("%s: found %s, %v", d, e.Digest, err)
			}
		}
		all, err := x.Referring(ctx, "a/b", blob)
		if err != nil || len(all) != referring {
			t.Errorf("referring are %v, %v; want %d", all, err, referring)
		}
	}
	check(one.Digest, 2)
	check(other.Digest, 2)
	listed, _, err := x.List(ctx, index.Query{ByTime: true}, "", 9)
	if err != nil || len(listed) != 2 || listed[0].Digest == listed[1].Digest {
		t.Errorf("listed: %v, %v", listed, err)
	}
	change(index.Update{Delete: []digest.Digest{one.Digest}, Unlink: []digest.Digest{blob}})
	check(other.Digest, 1)
	if _, err := x.MountSource(ctx, blob, nil); err == nil {
		t.Error("a blob that is gone can be mounted")
	}
	if from, err := x.MountSource(ctx, alike(blob), []string{"a"}); err != nil || from != "a/b" {
		t.Errorf("the other blob: %q, %v", from, err)
	}
	change(index.Update{Delete: []digest.Digest{other.Digest}, Unlink: []digest.Digest{alike(blob)}})
	if keys := leftOver(t, x); keys > 0 {
		t.Errorf("%d keys are left of a repository that is empty", keys)
	}
}

// leftOver counts the keys of everything that belongs to repositories, but for
// what is gone of them.
func leftOver(t *testing.T, x *Index) (keys int) {
	t.Helper()
	err := x.view(t.Context(), "test", func(s *session) error {
		for _, tb := range []table{tableNames, tableRepositories, tableTimes, tableUUIDs, tableDigests, tableHolders, tableQueue} {
			keys += s.at(tb).Stats().KeyN
		}
		return s.at(tableNamespaces).ForEach(func(k, _ []byte) error {
			if kind(k[numberLength]) != kindName { // of the namespace, as long as something is gone of it
				keys++
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// TestNumbers: a repository that went and came again has another number, so that
// nothing that was overlooked becomes its own; a namespace keeps its number as
// long as something is gone of it.
func TestNumbers(t *testing.T) {
	x, ctx := build(t, empty), t.Context()
	numbers := func() (repo, space uint32) {
		t.Helper()
		err := x.read(ctx, "test", "a/b", func(r *repoTx) error {
			s, err := r.spaceOf("a")
			repo, space = r.known.number, s.number
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return repo, space
	}
	var seen [2][2]uint32
	for i := range seen {
		if err := x.Link(ctx, "a/b", map[digest.Digest]int64{dgst("l"): 1}, "", nil); err != nil {
			t.Fatal(err)
		}
		seen[i][0], seen[i][1] = numbers()
		l, err := x.Acquire(ctx, "a/b")
		if err == nil {
			_, err = x.Publish(ctx, l, index.Update{Unlink: []digest.Digest{dgst("l")}})
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Release(ctx, l); err != nil {
			t.Fatal(err)
		}
		if keys := leftOver(t, x); keys > 0 {
			t.Errorf("%d keys are left", keys)
		}
	}
	if seen[0][0] == 0 || seen[0][1] == 0 || seen[0][0] == seen[1][0] || seen[0][1] != seen[1][1] {
		t.Errorf("numbers are %v", seen)
	}
}
