package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/berth-oci/berth/test/bench/figures"
	"github.com/berth-oci/berth/test/bench/load"
	"github.com/berth-oci/berth/test/bench/peers"
	"github.com/berth-oci/berth/test/bench/stored"
)

// mostFiles is how many images are written as files at most, each of seven.
const mostFiles = 30_000

// runStart measures the starts of berth: on storage alone, after a stop, after a
// kill while clients push.
func runStart(ctx context.Context, b *bench) error {
	images := min(b.images[len(b.images)-1], mostFiles)
	dir := b.folder("files")
	if err := stored.Files(ctx, dir, images, func(int) {}); err != nil {
		return err
	}
	b.say("storage of %d images written", images)
	var rebuilt, stopped, cutOff []figures.Measure
	for range min(b.rounds, 3) {
		if err := os.Remove(filepath.Join(dir, "catalog.db")); err != nil && !os.IsNotExist(err) {
			return err
		}
		for _, kind := range []struct {
			end func(*peers.Server) error
			all *[]figures.Measure
		}{
			{(*peers.Server).Stop, &rebuilt},
			{killed, &stopped},
			{(*peers.Server).Stop, &cutOff},
		} {
			m, err := b.startOnce(ctx, dir, kind.end)
			if err != nil {
				return err
			}
			*kind.all = append(*kind.all, m)
		}
	}
	for i := range rebuilt {
		rebuilt[i].Operations = images // of which each is read
	}
	for _, row := range []figures.Row{
		{Name: fmt.Sprintf("start, index of %d images from storage", images), Sides: []figures.Side{{Name: "images", Rounds: rebuilt}}},
		{Name: fmt.Sprintf("start after a stop, %d images", images), Sides: []figures.Side{{Name: "start", Rounds: stopped}}},
		{Name: fmt.Sprintf("start after a kill while 16 push, %d images", images), Sides: []figures.Side{{Name: "start", Rounds: cutOff}}},
	} {
		if err := b.add(row); err != nil {
			return err
		}
	}
	return nil
}

// startAgain measures the starts of stores after a clean stop.
func (b *bench) startAgain(ctx context.Context, stores []*store) error {
	row := figures.Row{Name: "start after a stop, index alone"}
	rounds := make([][]figures.Measure, len(stores))
	for range min(b.rounds, 3) {
		for i, s := range stores {
			if err := s.server.Stop(); err != nil {
				return err
			}
			peers.Settle()
			m, err := b.startedIn(ctx, s.side)
			if err != nil {
				return err
			}
			rounds[i] = append(rounds[i], m)
		}
	}
	for i, s := range stores {
		row.Sides = append(row.Sides, figures.Side{Name: s.name, Rounds: rounds[i]})
	}
	return b.add(row)
}

// startedIn starts the server of a side again, where it was.
func (b *bench) startedIn(ctx context.Context, s *side) (figures.Measure, error) {
	again, err := peers.Start(ctx, b.programs[0], peers.Place{Data: s.server.Data, Logs: b.logs})
	if err != nil {
		return figures.Measure{}, err
	}
	*s.server = *again // it is in the list of those that run
	s.target.Address = again.Address
	return measureStart(again), nil
}

// startOnce starts berth, looks what that took, and ends it.
func (b *bench) startOnce(ctx context.Context, dir string, end func(*peers.Server) error) (m figures.Measure, err error) {
	peers.Settle()
	s, err := peers.Start(ctx, b.programs[0], peers.Place{Data: dir, Logs: b.logs})
	if err != nil {
		return m, err
	}
	return measureStart(s), end(s)
}

// measureStart is what the start of a server took.
func measureStart(s *peers.Server) figures.Measure {
	took := float64(s.Took) / float64(time.Millisecond)
	m := figures.Measure{Seconds: s.Took.Seconds(), P50: took, Peak: s.Peak(), Own: s.Own()}
	if used, err := s.CPU(); err == nil {
		m.CPU = used.Seconds() * 1000
	}
	return m
}

// killed ends a server while clients push into it.
func killed(s *peers.Server) error {
	const clients = 16
	target := load.Target{Address: s.Address}
	images := newImages(4*clients, tinyImage)
	var pushed atomic.Int64
	for n := range clients {
		go func() {
			c, err := load.Dial(target)
			for i := n; err == nil && i < len(images); i += clients {
				err = c.Push(fmt.Sprintf("killed/app%d", n), fmt.Sprint("v", i), images[i])
				pushed.Add(1)
			}
		}()
	}
	for end := time.Now().Add(10 * time.Second); pushed.Load() < clients && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	s.Kill() // the pushes fail with it
	return nil
}

// sizeOf says how large a file is, and how much of it that is for each image.
func sizeOf(dir, name string, images int) string {
	info, err := os.Stat(filepath.Join(dir, name))
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%.1f MiB, %.2f KiB for each image", float64(info.Size())/(1<<20), float64(info.Size())/1024/float64(images))
}
