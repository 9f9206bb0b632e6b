package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/berth-oci/berth/test/bench/figures"
	"github.com/berth-oci/berth/test/bench/load"
)

// What goes on beside tiny pushes.
const (
	largeSize, largePushers = 10_000_000, 2
	// diskWriter writes as many bytes a second into a file of the second size,
	// over and over, and never syncs.
	diskWriter, diskFile = 100_000_000, 256 << 20
)

// runBeside says how long tiny pushes take beside large ones, and beside another
// program that writes to the same disk, and how many times that is of what they
// take alone.
func runBeside(ctx context.Context, b *bench) error {
	servers, err := b.sides(ctx, "http", false)
	if err != nil {
		return err
	}
	row := figures.Row{Name: "tiny pushes, alone and beside others", Connections: 4}
	const alone = "alone"
	kinds := []struct {
		name  string
		begin func(s *side) (end func() error, err error)
	}{
		{alone, func(*side) (func() error, error) { return func() error { return nil }, nil }},
		{"beside large pushes", func(s *side) (func() error, error) { return besideLarge(ctx, s) }},
		{"beside a writer", func(*side) (func() error, error) { return besideWriter(ctx, filepath.Join(b.dir, "written")) }},
	}
	var sides []*side
	kindOf := map[*side]int{}
	for _, s := range servers {
		for i, kind := range kinds {
			one := &side{s.name + ", " + kind.name, s.server, s.target}
			sides, kindOf[one] = append(sides, one), i
			if kind.name != alone {
				row.Compare = append(row.Compare, [2]string{one.name, s.name + ", " + alone})
			}
		}
	}
	count := b.times(96, 4)
	images := map[*side][]load.Image{}
	return b.compare(ctx, work{
		row: row, sides: sides, rounds: b.rounds,
		before: func(int) error {
			for _, s := range sides { // a server would know those of its other sides
				images[s] = newImages(count, tinyImage)
			}
			return nil
		},
		beside: func(s *side, _ int) (func() error, error) {
			end, err := kinds[kindOf[s]].begin(s)
			time.Sleep(300 * time.Millisecond) // it is well under way
			return end, err
		},
		amount: load.Amount{Count: count},
		do: func(s *side, round int, c *load.Conn, n int) error {
			return c.Push(repository("app", n), fmt.Sprintf("v%d-%d-%d", round, kindOf[s], n), images[s][n])
		},
	})
}

// besideLarge pushes large blobs, one after the other on each connection.
func besideLarge(ctx context.Context, s *side) (end func() error, err error) {
	var stop atomic.Bool
	g, ctx := errgroup.WithContext(ctx)
	for n := range largePushers {
		c, err := load.Dial(s.target)
		if err != nil {
			stop.Store(true)
			return nil, errors.Join(err, g.Wait())
		}
		g.Go(func() error {
			defer c.Close()
			for !stop.Load() && ctx.Err() == nil {
				if err := c.PushBlob(repository("large", n), load.Random(largeSize)); err != nil {
					return fmt.Errorf("a large push: %w", err)
				}
			}
			return nil
		})
	}
	return func() error { stop.Store(true); return g.Wait() }, nil
}

// besideWriter writes to a file at a steady rate.
func besideWriter(ctx context.Context, file string) (end func() error, err error) {
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		const every = 10 * time.Millisecond
		chunk := make([]byte, diskWriter/int(time.Second/every))
		tick := time.NewTicker(every)
		defer tick.Stop()
		for at := int64(0); ; at = (at + int64(len(chunk))) % diskFile {
			select {
			case <-ctx.Done():
				done <- nil
				return
			case <-tick.C:
			}
			if _, err := f.WriteAt(chunk, at); err != nil {
				done <- err
				return
			}
		}
	}()
	return func() error {
		cancel()
		return errors.Join(<-done, f.Close(), os.Remove(file))
	}, nil
}
