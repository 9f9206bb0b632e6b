package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	// slices is into how many parts a round is cut, in which the sides take turns:
	// what the machine does meanwhile then slows all of them alike. None is one.
	slices int
	// before makes what is needed, once in a round, before the clock starts.
	before func(round int) error
	// beside begins what goes on beside the work of a side, and returns how it is
	// ended; nil for nothing.
	beside func(s *side, round int) (end func() error, err error)
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
	w.slices = max(w.slices, 1)
	rounds := make([][]figures.Measure, len(w.sides))
	for round := range w.rounds {
		if w.before != nil {
			if err := w.before(round); err != nil {
				return err
			}
		}
		all := make([]tally, len(w.sides))
		for slice := range w.slices {
			for turn := range w.sides {
				i := w.turn(round, slice, turn)
				if err := w.measure(ctx, w.sides[i], round, slice, &all[i]); err != nil {
					return fmt.Errorf("%s, %s: %w", w.row.Title(), w.sides[i].name, err)
				}
			}
		}
		for i := range all {
			rounds[i] = append(rounds[i], all[i].measure())
		}
	}
	for i, s := range w.sides {
		w.row.Sides = append(w.row.Sides, figures.Side{Name: s.name, Rounds: rounds[i]})
	}
	return b.add(w.row)
}

// turn is whose turn it is: nobody is always the first, and of two sides each
// comes as early as the other.
func (w *work) turn(round, slice, turn int) int {
	if slice%2 == 1 {
		turn = len(w.sides) - 1 - turn
	}
	return (turn + round) % len(w.sides)
}

// tally is what one side has done in a round, so far.
type tally struct {
	figures.Measure
	times []time.Duration
	cpu   time.Duration // 0 where it is not known
}

func (t *tally) measure() figures.Measure {
	m := t.Measure
	m.Operations = len(t.times)
	all := load.Result{Times: slices.Sorted(slices.Values(t.times))}
	m.P50, m.P99 = all.Quantile(0.5).Seconds()*1000, all.Quantile(0.99).Seconds()*1000
	if t.cpu > 0 {
		m.CPU = t.cpu.Seconds() * 1000 / float64(m.Operations)
	}
	return m
}

// measure has one side do a slice of the work.
func (w *work) measure(ctx context.Context, s *side, round, slice int, t *tally) error {
	peers.Settle() // what the one before has left to write is not this one's
	if w.beside != nil {
		end, err := w.beside(s, round)
		if err != nil {
			return err
		}
		err = w.drive(ctx, s, round, slice, t)
		return errors.Join(err, end())
	}
	return w.drive(ctx, s, round, slice, t)
}

func (w *work) drive(ctx context.Context, s *side, round, slice int, t *tally) error {
	// Where the system does not say what a process costs, that stays empty.
	peak := s.server.ResetPeak() == nil
	var used time.Duration
	ready := func() { used, _ = s.server.CPU() }
	if w.own {
		watched := watchOwn(s.server)
		defer func() { t.Own = max(t.Own, watched()) }()
	}
	much, first := w.part(slice)
	r, err := load.Drive(ctx, s.target, max(w.row.Connections, 1), much, ready, func(c *load.Conn, n int) error {
		return w.do(s, round, c, first+n)
	})
	if err != nil {
		return err
	}
	if now, err := s.server.CPU(); err == nil {
		t.cpu += now - used
	}
	t.times = append(t.times, r.Times...)
	t.Seconds += r.Took.Seconds()
	if peak {
		t.Peak = max(t.Peak, s.server.Peak())
	}
	if w.said != nil {
		t.Server = w.said() // of one slice only
	}
	if w.bytes != nil {
		t.Bytes = w.bytes()
	}
	return nil
}

// part is how much of the work a slice is, and the number of its first operation.
func (w *work) part(slice int) (much load.Amount, first int) {
	much = load.Amount{Time: w.amount.Time / time.Duration(w.slices)}
	if w.amount.Count > 0 {
		first = w.amount.Count * slice / w.slices
		much.Count = w.amount.Count*(slice+1)/w.slices - first
	}
	return much, first
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
