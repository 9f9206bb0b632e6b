package image

import (
	"time"

	"github.com/opencontainers/go-digest"
)

// Image is what berth knows of a unikernel image: what a controller needs to
// boot it. Its fields come from the chosen manifest (see [Describe]); an image
// that is one bare manifest has exactly one platform.
type Image struct {
	// Created is the config's creation time, else that of the annotations,
	// else the modification time of the stored manifest; always UTC.
	Created time.Time `json:"created"`
	// Size is the sum of the chosen manifest's layers in bytes, by the sizes
	// of the stored blobs.
	Size int64 `json:"size"`
	// Kernel, Initrd and ROM say which parts the chosen manifest has.
	Kernel bool `json:"kernel,omitempty"`
	Initrd bool `json:"initrd,omitempty"`
	ROM    bool `json:"rom,omitempty"`
	// Args are the application's arguments, KernelArgs the kernel's.
	Args       []string          `json:"args,omitempty"`
	KernelArgs []string          `json:"kernel_args,omitempty"`
	Env        map[string]string `json:"env,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	// Platforms has one element per manifest, in the order of the index.
	Platforms []Platform `json:"platforms"`
}

// Platform is one manifest of an image: one unikernel for one platform. Its JSON
// is that of the images API, berth's own addition to it.
type Platform struct {
	Digest       digest.Digest `json:"digest"`
	OS           string        `json:"os"`
	Architecture string        `json:"architecture"`
	// Size is the sum of the layers in bytes, by the sizes of the stored blobs.
	Size int64 `json:"size_in_bytes"`
	// Kernel and Initrd are nil where the manifest has none.
	Kernel     *Part    `json:"kernel,omitempty"`
	Initrd     *Part    `json:"initrd,omitempty"`
	ROMs       []Part   `json:"roms"`
	Args       []string `json:"args,omitempty"`
	KernelArgs []string `json:"kernel_args,omitempty"`
}

// Part is a layer that a unikernel boots from.
type Part struct {
	Digest digest.Digest `json:"digest"`
	// Size is that of the stored blob in bytes; 0 if the blob is not stored.
	Size      int64  `json:"size"`
	MediaType string `json:"media_type"`
}
