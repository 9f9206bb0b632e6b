package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/berth-oci/berth/test/bench/figures"
	"github.com/berth-oci/berth/test/bench/load"
)

// mostPulled is how many bytes are pulled at a time at most: each connection pulls
// one blob at least.
const mostPulled = 8 << 30

// pulled is the repository that is pulled from.
const pulled, pulledTag = "user/app", "latest"

func runPull(ctx context.Context, b *bench) error {
	image := newImage()
	var blobs []load.Blob
	for _, size := range b.sizes {
		blobs = append(blobs, load.Random(size))
	}
	for _, scheme := range b.schemes {
		sides, err := b.sides(ctx, scheme, true)
		if err != nil {
			return err
		}
		err = onEach(sides, func(s *side, c *load.Conn) error {
			if s.server.Program.Static {
				return putFiles(s.server.Data, blobs)
			}
			for _, blob := range blobs {
				if err := c.PushBlob(pulled, blob); err != nil {
					return err
				}
			}
			return c.Push(pulled, pulledTag, image)
		})
		if err != nil {
			return err
		}
		for _, connections := range b.connectionsOver(scheme) {
			if err := pullWith(ctx, b, sides, connections, scheme == "https", image, blobs); err != nil {
				return err
			}
		}
		b.stopAll()
	}
	return nil
}

// putFiles puts blobs where a server of files finds them by their paths.
func putFiles(root string, blobs []load.Blob) error {
	dir := filepath.Join(root, "v2", pulled, "blobs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, blob := range blobs {
		f, err := os.Create(filepath.Join(dir, blob.Digest))
		if err != nil {
			return err
		}
		_, err = blob.WriteTo(f)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

func pullWith(ctx context.Context, b *bench, all []*side, connections int, secure bool, image load.Image, blobs []load.Blob) error {
	var registries []*side
	for _, s := range all {
		if !s.server.Program.Static {
			registries = append(registries, s)
		}
	}
	type kind struct {
		name  string
		sides []*side
		bytes int64
		do    func(c *load.Conn) error
	}
	kinds := []kind{
		{"pull an image", registries, kernelSize + initrdSize, func(c *load.Conn) error { return c.Pull(pulled, pulledTag, image) }},
		{"GET manifest by tag", registries, 0, func(c *load.Conn) error { return c.Manifest(pulled, pulledTag, image.Index) }},
		{"HEAD manifest by tag", registries, 0, func(c *load.Conn) error { return c.HeadManifest(pulled, pulledTag) }},
	}
	for _, blob := range blobs {
		if blob.Size*int64(connections) > mostPulled {
			b.say("GET blob of %s over %d connections: more than this pulls, left out", sizeText(blob.Size), connections)
			continue
		}
		kinds = append(kinds, kind{"GET blob of " + sizeText(blob.Size), all, blob.Size, func(c *load.Conn) error { return c.Blob(pulled, blob) }})
	}
	for _, k := range kinds {
		err := b.compare(ctx, work{
			row:    figures.Row{Name: k.name, Connections: connections, TLS: secure, Bytes: k.bytes, Compare: against(k.sides)},
			sides:  k.sides,
			rounds: b.rounds,
			amount: load.Amount{Time: b.time},
			do:     func(_ *side, _ int, c *load.Conn, _ int) error { return k.do(c) },
		})
		if err != nil {
			return err
		}
	}
	return nil
}
