package harness

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Fixture is an image in testdata, as a tool wrote it, and what the images API
// must say of it.
type Fixture struct {
	Name, Tag string
	Digest    string // of the index that the tag points to
	Created   string
	Size      int64 // of the chosen platform
	Initrd    bool
	rom       bool
	Args      []string
	ArgsV1    string
	env       map[string]string
	labels    map[string]string
	Platforms []EntryPlatform
	Lies      bool // descriptors in it have a wrong size
}

// Media types of layers, and the digest of the image kraft-hello.
const (
	TarLayer = "application/vnd.oci.image.layer.v1.tar"
	romLayer = "application/vnd.unikraft.rom.v1"

	HelloDigest = "sha256:5528bb6ca812c68bee80f67c66b0aa9bfb05ad639f448ceb792b8820069171ad"
)

var (
	kernelQEMU   = &EntryPart{"sha256:22d20782da8fc660522f61fd6d05deb645f606f9aa6cd18023118cb942783ed2", 67072, TarLayer}
	kernelFC     = &EntryPart{"sha256:e77917c20dbf52b7b9fca9ba9a7c5ab8f250fd1d794d9562dd001f5af85d6cff", 61952, TarLayer}
	kernelARM    = &EntryPart{"sha256:5477d5a82b0e871eb9162d0790110146ae415f011a933388675969c324e90e29", 71680, TarLayer}
	kernelCloud  = &EntryPart{"sha256:98b98c6d5d3cda41b0ee3ae8d8ca0fbe71e831eb47a98be3196c44309500a2f2", 41984, TarLayer}
	initrdServer = &EntryPart{"sha256:ca7ce260f3ddcc57667c2fadb94293f555781d55ba924a2b32815f1073424c2c", 2048, TarLayer}
	initrdPython = &EntryPart{"sha256:41a42fa50a5eec657c32cdaf1cc87cc0c92cfe01b4e9fcd8251e514a811b34e4", 10752, TarLayer}

	serverArgs = []string{"/server", "-p", "8080"}
	pythonArgs = []string{"/usr/bin/python3", "/src/server.py"}
	// NoROMs is what the API says of an image without any.
	NoROMs = []EntryPart{}
)

// Fixtures are all images in testdata.
var Fixtures = []Fixture{
	{
		Name: "kraft-hello", Tag: "latest", Digest: HelloDigest,
		Created: "2026-11-21T19:27:23Z", Size: 69120, Initrd: true,
		Args: serverArgs, ArgsV1: "/server -p 8080",
		env:    map[string]string{"PORT": "8080", "MODE": "prod"},
		labels: map[string]string{"cloud.unikraft.v1.instances/scale_to_zero.policy": "on"},
		Platforms: []EntryPlatform{
			{
				Digest: "sha256:6e6acb6540d44e40cdd89f82c8146a2d78e5d98c6816cb0d7ca2da381b0bb110", OS: "qemu", Architecture: "x86_64",
				Size: 69120, Kernel: kernelQEMU, Initrd: initrdServer, ROMs: NoROMs, Args: serverArgs,
			},
		},
	},
	{
		// Firecracker's manifest is the second, and the one that is chosen.
		Name: "kraft-multi", Tag: "v2", Digest: "sha256:18ab79869cdd37947c8dba087e0967152f499989b9f439cd4e36994a528c35ad",
		Created: "2026-11-21T19:27:23Z", Size: 64000, Initrd: true, Lies: true,
		Args: serverArgs, ArgsV1: "/server -p 8080",
		labels: map[string]string{"cloud.unikraft.v1.instances/scale_to_zero.policy": "on"},
		Platforms: []EntryPlatform{
			{
				Digest: "sha256:cba10f0957002286e9d78826b1ce64644a444a7be27e2fadb2f7945cf377aa84", OS: "qemu", Architecture: "x86_64",
				Size: 69120, Kernel: kernelQEMU, Initrd: initrdServer, ROMs: NoROMs, Args: serverArgs,
			},
			{
				Digest: "sha256:1623488354fb71c1d086c42717534c1966305302aa22960818a9c0a45ec6ef7d", OS: "fc", Architecture: "x86_64",
				Size: 64000, Kernel: kernelFC, Initrd: initrdServer, ROMs: NoROMs, Args: serverArgs,
			},
			{
				Digest: "sha256:2901329e08b4a72020257d40855a1f8bb6b10edd0f5722f7c965ab78b2bcd85e", OS: "qemu", Architecture: "arm64",
				Size: 73728, Kernel: kernelARM, Initrd: initrdServer, ROMs: NoROMs, Args: serverArgs,
			},
		},
	},
	{
		Name: "unikraft-http-python312", Tag: "latest", Digest: "sha256:cc1e85a91774da2d85be00ec01262ac72d2c09e19573b5910e5293a69ac5dfa3",
		Created: "2026-07-01T12:00:00Z", Size: 52736, Initrd: true,
		Args: pythonArgs, ArgsV1: "/usr/bin/python3 /src/server.py",
		env:    map[string]string{"A": "1", "B": "two=2"},
		labels: map[string]string{"tier": "web"},
		Platforms: []EntryPlatform{
			{
				Digest: "sha256:be8c71d4f81bbce30fab955f6126df5eed591347bf6f8ed2ed52ca4e4b5778a2", OS: "kraftcloud", Architecture: "x86_64",
				Size: 52736, Kernel: kernelCloud, Initrd: initrdPython, ROMs: NoROMs, Args: pythonArgs,
			},
		},
	},
	{
		Name: "unikraft-rom", Tag: "latest", Digest: "sha256:1b0b45f9a71a011a64617d8a2215e6007ddd46fa34d72d93ab8f129e05b8b2d2",
		Created: "2026-07-01T12:00:00Z", Size: 5000, rom: true,
		Platforms: []EntryPlatform{
			{
				Digest: "sha256:260fb8dcf2d8f770241a66ab468db40375bc665663e212228853d97ac3b87d6b", OS: "kraftcloud", Architecture: "x86_64", Size: 5000,
				ROMs: []EntryPart{{"sha256:1c4c409046e1b482ff4dd0f11514a99c966f83746fdf6954c93804f2ff48a106", 5000, romLayer}},
			},
		},
	},
	{
		Name: "unikraft-kernelless", Tag: "latest", Digest: "sha256:2ac8ec86a53dc1d2a94c0b353b037d92a16d667d73b1b65ca42dd19f915de608",
		Created: "2026-07-01T12:00:00Z", Size: 10752, Initrd: true,
		Args: pythonArgs, ArgsV1: "/usr/bin/python3 /src/server.py",
		env:    map[string]string{"A": "1", "B": "two=2"},
		labels: map[string]string{"tier": "web"},
		Platforms: []EntryPlatform{
			{
				Digest: "sha256:f140b450e9fc93e8f403b28e8d1026470ca3856c3f955a48fe1aeb04eaa25feb", OS: "kraftcloud", Architecture: "x86_64",
				Size: 10752, Initrd: initrdPython, ROMs: NoROMs, Args: pythonArgs,
			},
		},
	},
}

// Dir is the fixture's OCI layout.
func (f Fixture) Dir() string { return filepath.Join(Root(), "test", "testdata", f.Name) }

// V1 is the fixture's entry in the first form, when it lies in a repository.
func (f Fixture) V1(repository string, tags ...string) EntryV1 {
	e := EntryV1{
		Digest: ShortName(repository) + "@" + f.Digest, Tags: []string{},
		Initrd: f.Initrd, Size: f.Size, Args: f.ArgsV1, Labels: f.labels,
	}
	for _, tag := range tags {
		e.Tags = append(e.Tags, ShortName(repository)+":"+tag)
	}
	return e
}

// Current is the fixture's entry in the current form.
func (f Fixture) Current(host, repository string, tags ...string) EntryCurrent {
	return EntryCurrent{
		UUID: UUIDOf(repository, f.Digest), CreatedAt: f.Created,
		URL: host + "/" + ShortName(repository) + "@" + f.Digest, Tags: append([]string{}, tags...),
		InitrdOrROM: f.Initrd || f.rom, Size: f.Size, Args: f.Args, Env: f.env, Platforms: f.Platforms,
	}
}

// Child is the fixture as if its first manifest had been pushed without index.
func (f Fixture) Child() Fixture {
	f.Platforms = f.Platforms[:1]
	f.Digest, f.Size = f.Platforms[0].Digest, f.Platforms[0].Size
	return f
}

// FixtureNamed returns one of the fixtures.
func FixtureNamed(t testing.TB, name string) Fixture {
	t.Helper()
	for _, f := range Fixtures {
		if f.Name == name {
			return f
		}
	}
	t.Fatalf("there is no fixture %s", name)
	return Fixture{}
}

// WantFixture looks an image up in every way that the API has, in both forms.
// The first request is a list: what was pushed last must be in it.
func WantFixture(t testing.TB, b *Berth, f Fixture, repository string, tags ...string) {
	t.Helper()
	one, two := f.V1(repository, tags...), f.Current(b.Host, repository, tags...)
	wantInList(t, b, one, two)
	within := "?namespace=" + url.QueryEscape(repository)
	ways := [][2]string{ // query, body
		{"", `{"digest":"` + repository + "@" + f.Digest + `"}`},
		{within, `{"digest":"` + f.Digest + `"}`},
		{"", `[{"digest":"` + b.Host + "/" + repository + "@" + f.Digest + `"}]`},
		{"?uuid=" + UUIDOf(repository, f.Digest), ""},
		{"?digest=" + url.QueryEscape(ShortName(repository)+"@"+f.Digest), ""},
	}
	for _, tag := range tags {
		ways = append(ways,
			[2]string{"", `{"tag":"` + repository + ":" + tag + `"}`},
			[2]string{"", `{"tagged":"` + b.Host + "/" + ShortName(repository) + ":" + tag + `"}`},
			[2]string{"?tag=" + url.QueryEscape(repository+":"+tag), ""},
			[2]string{within + "&tagged", `{"tag":"` + repository + ":" + tag + `","digest":"` + f.Digest + `"}`})
	}
	for _, way := range ways {
		WantImages(t, b, "/v1/images/list"+way[0], way[1], one)
		WantImages(t, b, "/v1/images"+way[0], way[1], two)
	}
	WantImages(t, b, "/images"+ways[0][0], ways[0][1], two)
	WantImages(t, b, "/v1/image-store"+ways[0][0], ways[0][1], two)
}

// wantInList wants exactly one entry of an image in the list of all.
func wantInList(t testing.TB, b *Berth, one EntryV1, two EntryCurrent) {
	t.Helper()
	for path, want := range map[string]any{"/v1/images/list": one, "/v1/images": two} {
		a := AskImages(t, b, path, "")
		if a.Code != 200 || a.Status != "success" || a.Data == nil {
			t.Fatalf("%s: got %d %s", path, a.Code, a.Raw)
		}
		found := 0
		for _, raw := range a.Data.Images {
			var e struct{ Digest, URL string }
			if err := json.Unmarshal(raw, &e); err != nil {
				t.Fatal(err)
			}
			if e.Digest == one.Digest || e.URL == two.URL {
				found++
				SameEntry(t, path, raw, want)
			}
		}
		if found != 1 {
			t.Errorf("%s: %s is in it %d times, want once", path, one.Digest, found)
		}
	}
}

// BlobsOf reads all blobs of an OCI layout.
func BlobsOf(t testing.TB, layout string) map[string][]byte {
	t.Helper()
	dir := filepath.Join(layout, "blobs", "sha256")
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	blobs := map[string][]byte{}
	for _, file := range files {
		if blobs[file.Name()], err = os.ReadFile(filepath.Join(dir, file.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return blobs
}

// SameBlobs wants a layout to hold the same blobs as another, byte for byte.
func SameBlobs(t testing.TB, got, want string) {
	t.Helper()
	pulled, pushed := BlobsOf(t, got), BlobsOf(t, want)
	if g, w := slices.Sorted(maps.Keys(pulled)), slices.Sorted(maps.Keys(pushed)); !slices.Equal(g, w) {
		t.Errorf("pulled the blobs\n\t%s, want\n\t%s", strings.Join(g, "\n\t"), strings.Join(w, "\n\t"))
	}
	for name, content := range pushed {
		if !bytes.Equal(pulled[name], content) {
			t.Errorf("blob %s was not pulled as it was pushed", name)
		}
	}
}

// DigestByTag asks the API for the digest of a tag, as a controller does.
func DigestByTag(t testing.TB, b *Berth, image string) (name, digest string) {
	t.Helper()
	a := AskImages(t, b, "/v1/images/list", `{"tag":"`+image+`"}`)
	if a.Code != 200 || a.Data == nil || len(a.Data.Images) != 1 {
		t.Fatalf("%s: got %d %s", image, a.Code, a.Raw)
	}
	var e EntryV1
	DecodeStrictly(t, a.Data.Images[0], &e)
	name, digest, _ = strings.Cut(e.Digest, "@")
	return name, digest
}
