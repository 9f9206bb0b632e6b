package peers

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestCountSyncs(t *testing.T) {
	trace := `71  fsync(9</data/blobs/a>) = 0
72  fsync(10</data/blobs> <unfinished ...>
71  fdatasync(5</data/catalog.db>) = 0
72  <... fsync resumed>)              = 0
73  syncfs(3</data>)                  = 0
73  sync()                            = 0
71  fsync(9</data/blobs/b (deleted)>) = 0
71  +++ exited with 0 +++
`
	got := countSyncs([]byte(trace), func(path string) bool { return path == "/data/blobs" || path == "/data" })
	if want := (Syncs{Files: 3, Folders: 1, FileSystems: 2}); got != want || got.Total() != 6 {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := got.String(); got != "6 (files 3, folders 1, whole file systems 2)" {
		t.Errorf("got %q", got)
	}
}

func TestGiven(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "registry")
	if err := os.WriteFile(binary, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	place := Place{Address: "127.0.0.1:1", Data: "/d"}
	p, err := Given("old=" + binary)
	if err != nil {
		t.Fatal(err)
	}
	args, env := p.command(place)
	if p.Name != "old" || !slices.Equal(args, []string{binary, "serve", "--listen", "127.0.0.1:1", "--data", "/d"}) || !slices.Equal(env, []string{"BERTH_LOG_ACCESS=false"}) {
		t.Errorf("%s: %q %q", p.Name, args, env)
	}
	p, err = Given("other=" + binary + " --at={address} {data}/files")
	if err != nil {
		t.Fatal(err)
	}
	if args, _ := p.command(place); !slices.Equal(args, []string{binary, "--at=127.0.0.1:1", "/d/files"}) {
		t.Errorf("%q", args)
	}
	for _, wrong := range []string{"", "old", "=" + binary, "old=", "old=/nonesuch/berth", "old=" + binary + " serve"} {
		if _, err := Given(wrong); err == nil || !strings.HasPrefix(err.Error(), "--peer "+wrong+": ") {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}

// TestPeersVersion checks that the peer is of the version that berth embeds
// parts of.
func TestPeersVersion(t *testing.T) {
	version := func(file string) string {
		text, err := os.ReadFile(filepath.Join("../../..", file))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(string(text), "\n") {
			fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
			if len(fields) > 1 && fields[0] == "github.com/distribution/distribution/v3" {
				return fields[1]
			}
		}
		t.Fatalf("%s has no distribution", file)
		return ""
	}
	if peer, embedded := version(".ci/peers.mod"), version("go.mod"); peer != embedded {
		t.Errorf(".ci/peers.mod has %s, and go.mod %s", peer, embedded)
	}
}
