package main

import (
	"context"
	"fmt"
	"time"

	"github.com/berth-oci/berth/test/bench/figures"
	"github.com/berth-oci/berth/test/bench/load"
	"github.com/berth-oci/berth/test/bench/peers"
)

// side is a server that takes part in a comparison.
type side struct {
	name   string
	server *peers.Server
	target load.Target
}

func newSide(name string, s *peers.Server) *side {
	return &side{name, s, load.Target{Address: s.Address, TLS: s.Pair.Client()}}
}

// sides starts all programs that are wanted.
func (b *bench) sides(ctx context.Context, scheme string, static bool) (sides []*side, err error) {
	for _, p := range b.programs {
		if p.Static && !static {
			continue
		}
		s, err := b.start(ctx, p, scheme == "https")
		if err != nil {
			return nil, err
		}
		sides = append(sides, newSide(p.Name, s))
	}
	return sides, nil
}

// against says that the first side is compared with all others.
func against(sides []*side) (pairs [][2]string) {
	for _, s := range sides[1:] {
		pairs = append(pairs, [2]string{sides[0].name, s.name})
	}
	return pairs
}

// work is what the sides of a row do in each round.
type work struct {
	row    figures.Row
	sides  []*side
	rounds int
	// before makes what is needed, once in a round, before the clock starts.
	before func(round int) error
	amount load.Amount
	do     func(s *side, round int, c *load.Conn, n int) error
	// said, if it is set, is the median of the times, in milliseconds, that the
	// answers say they took, since it was called last.
	said func() float64
	// bytes, if it is set, is how many bytes an answer had, since it was called
	// last.
	bytes func() int64
	// own also measures the memory that is no file.
	own bool
}

// compare has all sides do the work in turns, and adds the row.
func (b *bench) compare(ctx context.Context, w work) error {
	rounds := make([][]figures.Measure, len(w.sides))
	for round := range w.rounds {
		if w.before != nil {
			if err := w.before(round); err != nil {
				return err
			}
		}
		for i := range w.sides {
			i = (i + round) % len(w.sides) // nobody is always the first
			m, err := w.measure(ctx, w.sides[i], round)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", w.row.Title(), w.sides[i].name, err)
			}
			rounds[i] = append(rounds[i], m)
		}
	}
	for i, s := range w.sides {
		w.row.Sides = append(w.row.Sides, figures.Side{Name: s.name, Rounds: rounds[i]})
	}
	return b.add(w.row)
}

// measure has one side do the work once.
func (w *work) measure(ctx context.Context, s *side, round int) (m figures.Measure, err error) {
	peers.Settle() // what the one before has left to write is not this one's
	// Where the system does not say what a process costs, that stays empty.
	peak := s.server.ResetPeak() == nil
	var used time.Duration
	ready := func() { used, _ = s.server.CPU() }
	if w.own {
		watched := watchOwn(s.server)
		defer func() { m.Own = watched() }()
	}
	r, err := load.Drive(ctx, s.target, max(w.row.Connections, 1), w.amount, ready, func(c *load.Conn, n int) error {
		return w.do(s, round, c, n)
	})
	if err != nil {
		return m, err
	}
	if now, err := s.server.CPU(); err == nil {
		m.CPU = (now - used).Seconds() * 1000 / float64(r.Operations)
	}
	m.Operations, m.Seconds = r.Operations, r.Took.Seconds()
	m.P50, m.P99 = r.Quantile(0.5).Seconds()*1000, r.Quantile(0.99).Seconds()*1000
	if peak {
		m.Peak = s.server.Peak()
	}
	if w.said != nil {
		m.Server = w.said()
	}
	if w.bytes != nil {
		m.Bytes = w.bytes()
	}
	return m, nil
}

// watchOwn looks at the memory of a server that is no file, until it is asked for
// the most.
func watchOwn(s *peers.Server) func() int64 {
	stop, most := make(chan struct{}), make(chan int64)
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		own := s.Own()
		for {
			select {
			case <-tick.C:
				own = max(own, s.Own())
			case <-stop:
				most <- own
				return
			}
		}
	}()
	return func() int64 { close(stop); return <-most }
}

// onEach does something on each side, over one connection, before any clock
// starts.
func onEach(sides []*side, do func(s *side, c *load.Conn) error) error {
	for _, s := range sides {
		c, err := load.Dial(s.target)
		if err != nil {
			return err
		}
		err = do(s, c)
		_ = c.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}
