package load

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Result is what came of one measurement.
type Result struct {
	Operations int
	Took       time.Duration
	// Times are what the operations took, sorted.
	Times []time.Duration
}

// Amount says how much is asked: a number of operations, or, if that is 0, as
// many as fit into a time, and at least one on each connection.
type Amount struct {
	Count int
	Time  time.Duration
}

// Drive has so many connections do what there is to do, each one operation
// after the other, and returns when all have ended. do is told which operation
// it is, from 0. ready is called between the opening of the connections and the
// first operation. The first error ends it.
func Drive(ctx context.Context, t Target, connections int, much Amount, ready func(), do func(c *Conn, n int) error) (Result, error) {
	var conns []*Conn
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	for range connections {
		c, err := Dial(t)
		if err != nil {
			return Result{}, err
		}
		conns = append(conns, c)
	}
	var next atomic.Int64
	var stop atomic.Bool
	errs, times := make([]error, connections), make([][]time.Duration, connections)
	var all sync.WaitGroup
	ready()
	begin := time.Now()
	over := begin.Add(much.Time)
	for i, c := range conns {
		all.Go(func() {
			for !stop.Load() && ctx.Err() == nil {
				n := int(next.Add(1)) - 1
				started := time.Now()
				if much.Count > 0 && n >= much.Count || much.Count == 0 && len(times[i]) > 0 && started.After(over) {
					return
				}
				if errs[i] = do(c, n); errs[i] != nil {
					stop.Store(true)
					return
				}
				times[i] = append(times[i], time.Since(started))
			}
		})
	}
	all.Wait()
	r := Result{Took: time.Since(begin), Times: slices.Concat(times...)}
	slices.Sort(r.Times)
	r.Operations = len(r.Times)
	return r, errors.Join(append(errs, ctx.Err())...)
}

// Quantile is the time within which a part of the operations ended, 0 of none.
func (r Result) Quantile(q float64) time.Duration {
	if len(r.Times) == 0 {
		return 0
	}
	return r.Times[min(int(q*float64(len(r.Times))), len(r.Times)-1)]
}
