package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/berth-oci/berth/test/bench/figures"
	"github.com/berth-oci/berth/test/bench/load"
)

// runMemory looks at memory at rest, and while as many push as pull.
func runMemory(ctx context.Context, b *bench) error {
	sides, err := b.sides(ctx, "http", false)
	if err != nil {
		return err
	}
	if err := idle(ctx, b, "idle, just started", sides); err != nil {
		return err
	}
	clients, size, rounds := 64, int64(10_000_000), min(b.rounds, 2)
	if b.small {
		clients, size, rounds = 8, 1_000_000, 1
	}
	stored := load.NewImage(load.Random(size), load.Random(size))
	err = onEach(sides, func(_ *side, c *load.Conn) error { return c.Push(pulled, pulledTag, stored) })
	if err != nil {
		return err
	}
	var layers []load.Blob
	err = b.compare(ctx, work{
		row: figures.Row{
			Name: fmt.Sprintf("memory, half push layers of %d MB, half pull them", size/1e6), Connections: 2 * clients,
			Bytes: size, Compare: against(sides),
		},
		sides: sides, rounds: rounds, own: true,
		before: func(int) error {
			layers = layers[:0]
			for range clients {
				layers = append(layers, load.Random(size))
			}
			return nil
		},
		// In turns an operation pushes and pulls; all begin at once.
		amount: load.Amount{Count: 4 * clients},
		do: func(_ *side, _ int, c *load.Conn, n int) error {
			if n%2 == 1 || n/2 >= len(layers) {
				return c.Blob(pulled, stored.Kernel)
			}
			return c.PushBlob(repository("memory", n), layers[n/2])
		},
	})
	return errors.Join(err, idle(ctx, b, "idle, after that", sides))
}

// idle says what memory servers have that have nothing to do.
func idle(ctx context.Context, b *bench, name string, sides []*side) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Second):
	}
	row := figures.Row{Name: name}
	for _, s := range sides {
		row.Sides = append(row.Sides, figures.Side{Name: s.name, Rounds: []figures.Measure{{
			Peak: s.server.Resident(), Own: s.server.Own(),
		}}})
	}
	return b.add(row)
}
