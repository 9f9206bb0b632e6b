package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-oci/berth/test/bench/figures"
	"github.com/berth-oci/berth/test/bench/load"
	"github.com/berth-oci/berth/test/bench/stored"
)

// store is a berth that holds a number of images.
type store struct {
	*side
	images int
	some   []stored.Image // that are asked for
}

// runQuery asks stores of several sizes the same questions.
func runQuery(ctx context.Context, b *bench) error {
	var stores []*store
	var sides []*side
	for _, n := range b.images {
		s, err := b.newStore(ctx, n)
		if err != nil {
			return err
		}
		stores, sides = append(stores, s), append(sides, s.side)
	}
	var larger [][2]string
	for _, s := range sides[1:] {
		larger = append(larger, [2]string{s.name, sides[0].name})
	}
	if err := b.startAgain(ctx, stores); err != nil {
		return err
	}
	if err := idle(ctx, b, "memory of a store that was opened", sides); err != nil {
		return err
	}
	for i, connections := range b.connectionsOfQueries() {
		for _, q := range questions {
			if q.found < 0 {
				if i > 0 {
					continue
				}
				connections = 1 // one answer is hundreds of megabytes
			}
			if err := b.ask(ctx, q, stores, connections, larger); err != nil {
				return err
			}
		}
	}
	var images []load.Image
	count := b.times(96, 4)
	return b.compare(ctx, work{
		row:    figures.Row{Name: "push, tiny, into stores", Connections: 4, Compare: larger},
		sides:  sides,
		rounds: b.rounds,
		before: func(int) error {
			images = newImages(count, tinyImage)
			return nil
		},
		amount: load.Amount{Count: count},
		do: func(_ *side, round int, c *load.Conn, n int) error {
			return c.Push(repository("app", n), fmt.Sprintf("v%d-%d", round, n), images[n])
		},
	})
}

// newStore writes an index, and starts berth on it.
func (b *bench) newStore(ctx context.Context, images int) (*store, error) {
	dir := b.folder("store")
	begin, last := time.Now(), time.Now()
	err := stored.Index(ctx, dir, images, func(done int) {
		if time.Since(last) > 5*time.Second {
			last = time.Now()
			b.say("index of %d images: %d", images, done)
		}
	})
	if err != nil {
		return nil, err
	}
	b.say("index of %d images written in %.1f s: %s", images, time.Since(begin).Seconds(), sizeOf(dir, "catalog.db", images))
	s, err := b.startIn(ctx, b.programs[0], dir, false)
	if err != nil {
		return nil, err
	}
	one := &store{side: newSide(fmt.Sprintf("%d images", images), s), images: images}
	for range 500 {
		one.some = append(one.some, stored.Of(images, rand.IntN(images)))
	}
	return one, nil
}

// question is a request to the images API.
type question struct {
	name string
	// request is about one of the images.
	request func(i stored.Image) load.Request
	// found is how many images the answer has; below 0 it is all.
	found int
}

func get(path string, body any) load.Request {
	r := load.Request{Method: http.MethodGet, Path: path, Keep: true}
	if body != nil {
		content, err := json.Marshal(body)
		if err != nil {
			panic(err) // strings only
		}
		r.Body = load.Bytes(content)
	}
	return r
}

var questions = []question{
	{"none: a tag that is not there", func(i stored.Image) load.Request {
		return get("/v1/images", map[string]string{"tag": i.Repository + ":none"})
	}, 0},
	{"none: a namespace without images", func(stored.Image) load.Request { return get("/v1/images?namespace=nobody", nil) }, 0},
	{"one by its tag", func(i stored.Image) load.Request {
		return get("/v1/images", map[string]string{"tag": i.Repository + ":" + i.Tag})
	}, 1},
	{"one by its digest", func(i stored.Image) load.Request {
		return get("/v1/images", map[string]string{"digest": i.Repository + "@" + i.Digest.String()})
	}, 1},
	{"one by its UUID", func(i stored.Image) load.Request { return get("/v1/images?uuid="+i.UUID(), nil) }, 1},
	{"ten: a namespace", func(stored.Image) load.Request { return get("/v1/images?namespace=ten", nil) }, stored.PerRepository},
	{"ten: the newest", func(stored.Image) load.Request { return get("/v1/images?count=10&order=desc", nil) }, 10},
	{"everything, current form", func(stored.Image) load.Request { return get("/v1/images", nil) }, -1},
	{"everything, first form", func(stored.Image) load.Request { return get("/v1/images/list", nil) }, -1},
}

// entry is what every image in an answer has once, in either form, and no other
// object has.
var entry = regexp.MustCompile(`"tags":`)

// verify checks the answer of a store to a question, once.
func (q question) verify(s *store) error {
	return onEach([]*side{s.side}, func(_ *side, c *load.Conn) error {
		a, err := c.Do(q.request(s.some[0]))
		if err != nil {
			return err
		}
		want, status := q.found, http.StatusOK
		if want < 0 {
			want = s.images
		}
		if got := len(entry.FindAllIndex(a.Body, -1)); got != want || a.Status != status && want > 0 {
			return fmt.Errorf("%s: %d images with status %d, want %d: %.300s", q.name, got, a.Status, want, a.Body)
		}
		return nil
	})
}

// ask has all stores answer a question.
func (b *bench) ask(ctx context.Context, q question, stores []*store, connections int, larger [][2]string) error {
	byName := map[string]*store{}
	w := work{
		row:    figures.Row{Name: "query, " + q.name, Connections: connections, Compare: larger},
		rounds: b.rounds, amount: load.Amount{Time: b.time},
	}
	for _, s := range stores {
		if err := q.verify(s); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		byName[s.name], w.sides = s, append(w.sides, s.side)
	}
	if q.found < 0 {
		// How long it takes follows from how much it is: nothing to compare.
		w.row.Compare = nil
	}
	var answered atomic.Int64
	w.bytes = func() int64 { return answered.Swap(0) }
	var said times
	w.said = said.median
	w.do = func(s *side, _ int, c *load.Conn, n int) error {
		some := byName[s.name].some
		r := q.request(some[n%len(some)])
		r.Keep = q.found >= 0
		a, err := c.Do(r)
		if err != nil {
			return err
		}
		if a.Status != http.StatusOK && q.found != 0 {
			return fmt.Errorf("%s: answered with %d", q.name, a.Status)
		}
		answered.Store(a.Bytes)
		said.add(a.Body)
		return nil
	}
	return b.compare(ctx, w)
}

// times are those that answers say they took.
type times struct {
	mu  sync.Mutex
	all []float64 // milliseconds; guarded by mu
}

var opTime = []byte(`"op_time_us":`)

// add takes the time out of an answer, if it says it.
func (t *times) add(body []byte) {
	at := bytes.LastIndex(body, opTime)
	if at < 0 {
		return
	}
	number := body[at+len(opTime):]
	end := bytes.IndexAny(number, ",}")
	if end < 0 {
		return
	}
	us, err := strconv.ParseFloat(string(number[:end]), 64)
	if err != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all, us/1000)
}

// median is that of the times since it was called last.
func (t *times) median() float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := figures.Median(t.all)
	t.all = t.all[:0]
	return m
}
