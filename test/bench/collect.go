package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/berth-oci/berth/test/bench/figures"
	"github.com/berth-oci/berth/test/bench/load"
)

// deadBlobs are pushed for each round, and collected at the pace that berth has by
// itself while others push.
const deadBlobs, collectLease = 1500, time.Second

// runCollect says how much longer a push takes while what nobody needs is
// collected.
func runCollect(ctx context.Context, b *bench) error {
	server, err := b.start(ctx, b.programs[0].With(
		"BERTH_COLLECT_LEASE="+collectLease.String(), "BERTH_COLLECT_QUARANTINE=0s", "BERTH_COLLECT_INTERVAL=24h"), false)
	if err != nil {
		return err
	}
	alone, beside := newSide("at rest", server), newSide("while it collects", server)
	images := map[*side][]load.Image{}
	count := b.times(96, 4)
	return b.compare(ctx, work{
		row:    figures.Row{Name: "tiny pushes beside collection", Connections: 4, Compare: [][2]string{{beside.name, alone.name}}},
		sides:  []*side{alone, beside},
		rounds: b.rounds,
		before: func(int) error {
			images[alone], images[beside] = newImages(count, tinyImage), newImages(count, tinyImage)
			return nil
		},
		beside: func(s *side, _ int) (func() error, error) {
			if s != beside {
				return func() error { return nil }, nil
			}
			return besideCollection(ctx, b, s)
		},
		amount: load.Amount{Count: count},
		do: func(s *side, round int, c *load.Conn, n int) error {
			return c.Push(repository("app", n), fmt.Sprintf("v%d-%d-%s", round, n, s.name[:2]), images[s][n])
		},
	})
}

// besideCollection pushes blobs that nobody needs, and has them be collected. It is
// an error if that has ended before the pushes have.
func besideCollection(ctx context.Context, b *bench, s *side) (end func() error, err error) {
	dead := make([]load.Blob, deadBlobs)
	for i := range dead {
		dead[i] = load.Random(1 << 10)
	}
	_, err = load.Drive(ctx, s.target, 4, load.Amount{Count: len(dead)}, func() {}, func(c *load.Conn, n int) error { return c.PushBlob("dead/blobs", dead[n]) })
	if err != nil {
		return nil, err
	}
	time.Sleep(2 * collectLease)
	done := make(chan error, 1)
	go func() {
		out, err := b.programs[0].Run("gc", "--data", s.server.Data, "--output", "json")
		done <- errors.Join(err, collectedAll(out))
	}()
	time.Sleep(100 * time.Millisecond) // it is under way
	return func() error {
		select {
		case err := <-done:
			return errors.Join(err, errors.New("the collection has ended before the pushes"))
		default:
			return <-done
		}
	}, nil
}

// collectedAll is an error unless the dead blobs went.
func collectedAll(out []byte) error {
	var answer struct {
		Freed struct{ Swept struct{ Count int } }
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		return fmt.Errorf("berth gc says %q: %w", out, err)
	}
	if n := answer.Freed.Swept.Count; n < deadBlobs {
		return fmt.Errorf("%d of %d blobs were collected", n, deadBlobs)
	}
	return nil
}
