package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/berth-oci/berth/test/bench/figures"
	"github.com/berth-oci/berth/test/bench/load"
	"github.com/berth-oci/berth/test/bench/peers"
)

// The layers of an image as people push them, and of a tiny one, in bytes.
const (
	kernelSize, initrdSize         = 1_500_000, 500_000
	tinyKernelSize, tinyInitrdSize = 200, 100
)

// newImages makes images on all processors.
func newImages(n int, image func() load.Image) []load.Image {
	images := make([]load.Image, n)
	var all sync.WaitGroup
	for i := range images {
		all.Go(func() { images[i] = image() })
	}
	all.Wait()
	return images
}

func newImage() load.Image {
	return load.NewImage(load.Random(kernelSize), load.Random(initrdSize))
}

func tinyImage() load.Image {
	return load.NewImage(load.Random(tinyKernelSize), load.Random(tinyInitrdSize))
}

func runSyncs(ctx context.Context, b *bench) error {
	sides, err := b.sides(ctx, "http", false)
	if err != nil {
		return err
	}
	for _, s := range sides {
		for _, kind := range []struct {
			name  string
			image func() load.Image
		}{{"a few bytes", tinyImage}, {"2 MB", newImage}} {
			image := kind.image()
			count, err := s.server.Syncs(ctx, func() error {
				return onEach([]*side{s}, func(_ *side, c *load.Conn) error { return c.Push("syncs/app", "v"+kind.name[:1], image) })
			})
			if errors.Is(err, peers.ErrNotInstalled) {
				b.note("%v: the syncs that a push costs are not counted", err)
				return nil
			}
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			b.note("%s: syncs for one image of %s, pushed by one client: %s", s.name, kind.name, count)
		}
	}
	return nil
}

func runPush(ctx context.Context, b *bench) error {
	for _, scheme := range b.schemes {
		sides, err := b.sides(ctx, scheme, false)
		if err != nil {
			return err
		}
		// The kernel of the updates.
		base := newImage()
		err = onEach(sides, func(_ *side, c *load.Conn) error {
			for n := range repositories {
				if err := c.Push(repository("update", n), "base", base); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		update := func() load.Image { return load.NewImage(base.Kernel, load.Random(initrdSize)) }
		for _, connections := range b.connectionsOver(scheme) {
			p := push{b, sides, connections, scheme == "https"}
			for _, kind := range []pushed{
				{"push, all new", 32, kernelSize + initrdSize, newImage, "app"},
				{"push, update", 64, initrdSize, update, "update"},
				{"push, tiny", 96, 0, tinyImage, "app"},
			} {
				if err := p.compare(ctx, kind); err != nil {
					return err
				}
			}
		}
		one := push{b, sides, 32, scheme == "https"}
		if err := one.compare(ctx, pushed{"push, tiny, into one repository", 128, 0, tinyImage, ""}); err != nil {
			return err
		}
		for _, connections := range b.connectionsOver(scheme) {
			if err := (push{b, sides, connections, scheme == "https"}).blobs(ctx); err != nil {
				return err
			}
		}
		b.stopAll()
	}
	return nil
}

// What is pushed of blobs in a round comes to about perRound bytes, and to no more
// than mostPerRound; of blobs from manyBytes on, no more than fewRounds are.
const (
	perRound, mostPerRound = 48 << 20, 2 << 30
	manyBytes, fewRounds   = 64 << 20, 3
)

// blobs pushes blobs of all sizes, each in one piece.
func (p push) blobs(ctx context.Context) error {
	for _, size := range p.b.sizes {
		name := "push a blob of " + sizeText(size)
		if size*int64(p.connections) > mostPerRound {
			p.b.say("%s over %d connections: more than this writes, left out", name, p.connections)
			continue
		}
		count := p.b.times(int(min(perRound/size, 128)), p.connections)
		rounds := p.b.rounds
		if size >= manyBytes {
			rounds = min(rounds, fewRounds)
		}
		var blobs []load.Blob
		err := p.b.compare(ctx, work{
			row:    figures.Row{Name: name, Connections: p.connections, TLS: p.secure, Bytes: size, Compare: against(p.sides)},
			sides:  p.sides,
			rounds: rounds,
			before: func(int) error {
				blobs = blobs[:0]
				for range count {
					blobs = append(blobs, load.Random(size))
				}
				return nil
			},
			amount: load.Amount{Count: count},
			do:     func(_ *side, _ int, c *load.Conn, n int) error { return c.PushBlob(repository("blob", n), blobs[n]) },
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// repositories is how many repositories are pushed into, in turns.
const repositories = 8

// repository is the n-th of them; of no kind there is only one.
func repository(kind string, n int) string {
	if kind == "" {
		return "one/app"
	}
	return fmt.Sprintf("user%d/%s%d", n%4, kind, n%repositories)
}

// push is who pushes, and over how many connections.
type push struct {
	b           *bench
	sides       []*side
	connections int
	secure      bool
}

// pushed is what is pushed.
type pushed struct {
	name  string
	count int   // in a round
	bytes int64 // that are new in each image, roughly
	image func() load.Image
	into  string // the kind of repositories
}

// compare pushes the same images to all sides.
func (p push) compare(ctx context.Context, kind pushed) error {
	var images []load.Image
	count := p.b.times(kind.count, p.connections)
	return p.b.compare(ctx, work{
		row:    figures.Row{Name: kind.name, Connections: p.connections, TLS: p.secure, Bytes: kind.bytes, Compare: against(p.sides)},
		sides:  p.sides,
		rounds: p.b.rounds,
		before: func(int) error {
			images = newImages(count, kind.image)
			return nil
		},
		amount: load.Amount{Count: count},
		do: func(_ *side, round int, c *load.Conn, n int) error {
			return c.Push(repository(kind.into, n), fmt.Sprintf("v%d-%d-%d", p.connections, round, n), images[n])
		},
	})
}
