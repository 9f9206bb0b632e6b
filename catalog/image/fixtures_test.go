package image_test

import (
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
)

const sha = "sha256:"

func part(dgst digest.Digest, size int64) *image.Part {
	return &image.Part{Digest: dgst, Size: size, MediaType: ociTar}
}

// TestFixtures compares whole descriptions with what stands in the fixtures,
// read by hand.
func TestFixtures(t *testing.T) {
	const (
		helloKernel = sha + "22d20782da8fc660522f61fd6d05deb645f606f9aa6cd18023118cb942783ed2"
		helloInitrd = sha + "ca7ce260f3ddcc57667c2fadb94293f555781d55ba924a2b32815f1073424c2c"
		helloChild  = sha + "6e6acb6540d44e40cdd89f82c8146a2d78e5d98c6816cb0d7ca2da381b0bb110"
		multiQemu   = sha + "cba10f0957002286e9d78826b1ce64644a444a7be27e2fadb2f7945cf377aa84"
		multiFC     = sha + "1623488354fb71c1d086c42717534c1966305302aa22960818a9c0a45ec6ef7d"
		multiArm    = sha + "2901329e08b4a72020257d40855a1f8bb6b10edd0f5722f7c965ab78b2bcd85e"
		pythonChild = sha + "be8c71d4f81bbce30fab955f6126df5eed591347bf6f8ed2ed52ca4e4b5778a2"
		pythonRoot  = sha + "41a42fa50a5eec657c32cdaf1cc87cc0c92cfe01b4e9fcd8251e514a811b34e4"
		romChild    = sha + "260fb8dcf2d8f770241a66ab468db40375bc665663e212228853d97ac3b87d6b"
		bareChild   = sha + "f140b450e9fc93e8f403b28e8d1026470ca3856c3f955a48fe1aeb04eaa25feb"
	)
	server := []string{"/server", "-p", "8080"}
	scale := map[string]string{"cloud.unikraft.v1.instances/scale_to_zero.policy": "on"}
	web := map[string]string{"tier": "web"}
	python := []string{"/usr/bin/python3", "/src/server.py"}
	ab := map[string]string{"A": "1", "B": "two=2"}
	july := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	november := time.Date(2026, 11, 21, 19, 27, 23, 0, time.UTC)
	none := []image.Part{}

	for name, want := range map[string]image.Description{
		"kraft-hello": {
			Digest: sha + "5528bb6ca812c68bee80f67c66b0aa9bfb05ad639f448ceb792b8820069171ad", Size: 862,
			Children: []digest.Digest{helloChild},
			Image: &image.Image{
				Created: november, Size: 69120, Kernel: true, Initrd: true,
				Args: server, Labels: scale, Env: map[string]string{"PORT": "8080", "MODE": "prod"},
				Platforms: []image.Platform{{
					Digest: helloChild, OS: "qemu", Architecture: "x86_64", Size: 69120,
					Kernel: part(helloKernel, 67072), Initrd: part(helloInitrd, 2048), ROMs: none, Args: server,
				}},
			},
		},
		"kraft-multi": {
			Digest: sha + "18ab79869cdd37947c8dba087e0967152f499989b9f439cd4e36994a528c35ad", Size: 2020,
			Children: []digest.Digest{multiQemu, multiFC, multiArm},
			Image: &image.Image{
				Created: november, Size: 64000, Kernel: true, Initrd: true, Args: server, Labels: scale,
				Platforms: []image.Platform{{
					Digest: multiQemu, OS: "qemu", Architecture: "x86_64", Size: 69120,
					Kernel: part(helloKernel, 67072), Initrd: part(helloInitrd, 2048), ROMs: none, Args: server,
				}, {
					Digest: multiFC, OS: "fc", Architecture: "x86_64", Size: 64000,
					Kernel: part(sha+"e77917c20dbf52b7b9fca9ba9a7c5ab8f250fd1d794d9562dd001f5af85d6cff", 61952),
					Initrd: part(helloInitrd, 2048), ROMs: none, Args: server,
				}, {
					Digest: multiArm, OS: "qemu", Architecture: "arm64", Size: 73728,
					Kernel: part(sha+"5477d5a82b0e871eb9162d0790110146ae415f011a933388675969c324e90e29", 71680),
					Initrd: part(helloInitrd, 2048), ROMs: none, Args: server,
				}},
			},
		},
		"unikraft-http-python312": {
			Digest: sha + "cc1e85a91774da2d85be00ec01262ac72d2c09e19573b5910e5293a69ac5dfa3", Size: 576,
			Children: []digest.Digest{pythonChild},
			Image: &image.Image{
				Created: july, Size: 52736, Kernel: true, Initrd: true, Args: python, Env: ab, Labels: web,
				Platforms: []image.Platform{{
					Digest: pythonChild, OS: "kraftcloud", Architecture: "x86_64", Size: 52736,
					Kernel: part(sha+"98b98c6d5d3cda41b0ee3ae8d8ca0fbe71e831eb47a98be3196c44309500a2f2", 41984),
					Initrd: part(pythonRoot, 10752), ROMs: none, Args: python,
				}},
			},
		},
		"unikraft-rom": {
			Digest: sha + "1b0b45f9a71a011a64617d8a2215e6007ddd46fa34d72d93ab8f129e05b8b2d2", Size: 575,
			Children: []digest.Digest{romChild},
			Image: &image.Image{
				Created: july, Size: 5000, ROM: true,
				Platforms: []image.Platform{{
					Digest: romChild, OS: "kraftcloud", Architecture: "x86_64", Size: 5000,
					ROMs: []image.Part{{
						Digest:    sha + "1c4c409046e1b482ff4dd0f11514a99c966f83746fdf6954c93804f2ff48a106",
						MediaType: romType, Size: 5000,
					}},
				}},
			},
		},
		"unikraft-kernelless": {
			Digest: sha + "2ac8ec86a53dc1d2a94c0b353b037d92a16d667d73b1b65ca42dd19f915de608", Size: 575,
			Children: []digest.Digest{bareChild},
			Image: &image.Image{
				Created: july, Size: 10752, Initrd: true, Args: python, Env: ab, Labels: web,
				Platforms: []image.Platform{{
					Digest: bareChild, OS: "kraftcloud", Architecture: "x86_64", Size: 10752,
					Initrd: part(pythonRoot, 10752), ROMs: none, Args: python,
				}},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, m := layout(t, name)
			want.MediaType = ociIndex
			got := describe(t, c, m)
			same(t, got, want)
			if got.Digest != want.Digest {
				t.Errorf("digest is %s, want %s", got.Digest, want.Digest)
			}
			for dgst, n := range c.opens {
				if n > 1 || dgst == helloKernel {
					t.Errorf("opened %s %d times", dgst, n)
				}
			}
		})
	}
}

// TestFixtureManifest describes a child of an index by itself.
func TestFixtureManifest(t *testing.T) {
	const (
		child  = sha + "6e6acb6540d44e40cdd89f82c8146a2d78e5d98c6816cb0d7ca2da381b0bb110"
		config = sha + "ec04eb8b010d3e62e983d2136b3443e5d8662d29120772409fe96e853fb32190"
		kernel = sha + "22d20782da8fc660522f61fd6d05deb645f606f9aa6cd18023118cb942783ed2"
		initrd = sha + "ca7ce260f3ddcc57667c2fadb94293f555781d55ba924a2b32815f1073424c2c"
	)
	c, _ := layout(t, "kraft-hello")
	m, err := c.Manifest(t.Context(), child)
	if err != nil {
		t.Fatal(err)
	}
	server := []string{"/server", "-p", "8080"}
	same(t, describe(t, c, m), image.Description{
		MediaType: ociManifest,
		Size:      1116,
		Blobs:     []image.Blob{{Digest: config, Size: 448}, {Digest: kernel, Size: 67072}, {Digest: initrd, Size: 2048}},
		Image: &image.Image{
			Created: time.Date(2026, 11, 21, 19, 27, 23, 0, time.UTC),
			Size:    69120, Kernel: true, Initrd: true, Args: server,
			Env:    map[string]string{"PORT": "8080", "MODE": "prod"},
			Labels: map[string]string{"cloud.unikraft.v1.instances/scale_to_zero.policy": "on"},
			Platforms: []image.Platform{{
				Digest: child, OS: "qemu", Architecture: "x86_64", Size: 69120,
				Kernel: part(kernel, 67072), Initrd: part(initrd, 2048), ROMs: []image.Part{}, Args: server,
			}},
		},
	})
}
