package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/berth-oci/berth/test/bench/figures"
	"github.com/berth-oci/berth/test/bench/peers"
	"github.com/berth-oci/berth/test/bench/stored"
)

// runStart measures the starts of berth: on storage alone, after a stop, after a
// kill while nothing was pushed.
func runStart(ctx context.Context, b *bench) error {
	images := min(b.images[len(b.images)-1], 10_000)
	dir := b.folder("files")
	if err := stored.Files(ctx, dir, images, func(int) {}); err != nil {
		return err
	}
	b.say("storage of %d images written", images)
	var rebuilt, stopped, killed []figures.Measure
	for range min(b.rounds, 3) {
		if err := os.Remove(filepath.Join(dir, "catalog.db")); err != nil && !os.IsNotExist(err) {
			return err
		}
		for _, kind := range []struct {
			end func(*peers.Server) error
			all *[]figures.Measure
		}{
			{(*peers.Server).Stop, &rebuilt},
			{func(s *peers.Server) error { s.Kill(); return nil }, &stopped},
			{(*peers.Server).Stop, &killed},
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
		{Name: fmt.Sprintf("start after a kill, %d images", images), Sides: []figures.Side{{Name: "start", Rounds: killed}}},
	} {
		if err := b.add(row); err != nil {
			return err
		}
	}
	return nil
}

// startOnce starts berth, looks what that took, and ends it.
func (b *bench) startOnce(ctx context.Context, dir string, end func(*peers.Server) error) (m figures.Measure, err error) {
	peers.Settle()
	s, err := peers.Start(ctx, b.programs[0], peers.Place{Data: dir, Logs: b.logs})
	if err != nil {
		return m, err
	}
	took := float64(s.Took) / float64(time.Millisecond)
	m = figures.Measure{Operations: 1, Seconds: s.Took.Seconds(), P50: took, Peak: s.Peak(), Own: s.Own()}
	if used, err := s.CPU(); err == nil {
		m.CPU = used.Seconds() * 1000
	}
	return m, end(s)
}

// sizeOf says how large a file is, and how much of it that is for each image.
func sizeOf(dir, name string, images int) string {
	info, err := os.Stat(filepath.Join(dir, name))
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%.1f MiB, %.2f KiB for each image", float64(info.Size())/(1<<20), float64(info.Size())/1024/float64(images))
}
