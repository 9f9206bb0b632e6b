package image

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage"
)

const (
	// maxLayers is how many layers of a manifest are looked into.
	maxLayers = 64
	// maxUnpacked is how many bytes of one layer are decompressed, and how
	// many of one manifest may have been when its next layer is opened.
	maxUnpacked = 256 << 20
)

// unikraftTypes are the media types that say by themselves what a layer is,
// less their compression.
var unikraftTypes = map[string]Parts{
	"application/vnd.unikraft.kernel.v1": PartKernel,
	"application/vnd.unikraft.image.v1":  PartKernel,
	"application/vnd.unikraft.initrd.v1": PartInitrd,
	"application/vnd.unikraft.rom.v1":    PartROM,
}

// tarTypes are the media types of layers that are tar archives. Which
// compression they name is not believed; the bytes say it.
var tarTypes = map[string]bool{
	"application/vnd.oci.image.layer.v1.tar":                       true,
	"application/vnd.oci.image.layer.v1.tar+gzip":                  true,
	"application/vnd.oci.image.layer.v1.tar+zstd":                  true,
	"application/vnd.oci.image.layer.nondistributable.v1.tar":      true,
	"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": true,
	"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": true,
	"application/vnd.docker.image.rootfs.diff.tar":                 true,
	"application/vnd.docker.image.rootfs.diff.tar.gzip":            true,
	"application/vnd.docker.image.rootfs.diff.tar.zstd":            true,
	"application/vnd.docker.image.rootfs.foreign.diff.tar":         true,
	"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip":    true,
	"application/vnd.docker.image.rootfs.foreign.diff.tar.zstd":    true,
}

// mark says what the manifest claims a layer to hold, and whether it claims
// anything. A debug kernel is marked, and is no part to boot from.
func (d Descriptor) mark() (parts Parts, marked bool) {
	if d.Marks.debug {
		return 0, true
	}
	mediaType := strings.TrimSuffix(strings.TrimSuffix(d.MediaType, "+gzip"), "+zstd")
	parts = d.Marks.parts | unikraftTypes[mediaType]
	return parts, parts != 0
}

// parts says what each of the layers holds: by their marks if there is any,
// else by what is in them.
func (d *describer) parts(ctx context.Context, layers []Descriptor) ([]Parts, error) {
	parts := make([]Parts, len(layers))
	anyMark := false
	for i, layer := range layers {
		p, marked := layer.mark()
		parts[i] = p
		anyMark = anyMark || marked
	}
	if anyMark {
		return parts, nil
	}
	return parts, d.lookInto(ctx, layers, parts)
}

// lookInto fills parts from the tar headers of the layers, until a layer shows
// that this is an ordinary container, or until enough has been looked at.
func (d *describer) lookInto(ctx context.Context, layers []Descriptor, parts []Parts) error {
	opened, unpacked := 0, int64(0)
	for i, layer := range layers {
		if !tarTypes[layer.MediaType] {
			continue
		}
		if opened == maxLayers || unpacked >= maxUnpacked {
			return nil
		}
		size, err := d.size(ctx, layer.Digest)
		if err != nil {
			return err
		}
		if !size.stored {
			// What is remembered of it from elsewhere is not this
			// repository's to know.
			continue
		}
		f, err := d.look(ctx, layer.Digest, size.bytes)
		if err != nil {
			return err
		}
		opened++
		unpacked += f.cost()
		parts[i] = f.parts() &^ PartOther
		if f.parts()&PartOther != 0 {
			return nil
		}
	}
	return nil
}

// look says what is in a stored layer, from memory if it can.
func (d *describer) look(ctx context.Context, dgst digest.Digest, size int64) (findings, error) {
	if f, ok := d.looked[dgst]; ok {
		return f, nil
	}
	if d.memory != nil {
		if p, ok := d.memory.Recall(dgst); ok {
			d.looked[dgst] = findings(p)
			return findings(p), nil
		}
	}
	f, err := d.open(ctx, dgst, size)
	if errors.Is(err, storage.ErrNotFound) {
		return 0, nil // Gone since its size was asked.
	}
	if err != nil {
		return 0, fmt.Errorf("looking into layer %s: %w", dgst, err)
	}
	d.looked[dgst] = f
	if d.memory != nil {
		d.memory.Remember(dgst, Parts(f))
	}
	return f, nil
}

func (d *describer) open(ctx context.Context, dgst digest.Digest, size int64) (findings, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	blob, err := d.content.Open(ctx, dgst)
	if err != nil {
		return 0, err
	}
	defer blob.Close()
	return scan(ctx, blob, size)
}

// findings is what a layer holds and what it cost to see that: [Parts] in the
// lower four bits, in the upper four the binary logarithm of the cost in MiB,
// rounded up. It is remembered whole. With a memory that kept the parts only,
// a layer would count against the bounds of an image when it is opened and not
// when it is recalled, and the same image could be described in two ways.
type findings Parts

const costShift = 4

func newFindings(parts Parts, cost int64) findings {
	mib := uint64(max(cost-1, 0)) >> 20
	return findings(parts) | findings(bits.Len64(mib))<<costShift
}

func (f findings) parts() Parts { return Parts(f) & (1<<costShift - 1) }

// cost is in bytes.
func (f findings) cost() int64 { return 1 << 20 << (f >> costShift) }
