package storage

import (
	"context"
	"fmt"
)

// joint is a driver that can have several changes be durable at once.
type joint interface {
	// Together runs do, and has everything that it changes with its context be
	// durable and seen at once, when it returns without an error; with an error
	// of do, none of it happens.
	Together(ctx context.Context, do func(context.Context) error) error
}

// ower is a driver that may do later what it has answered with an error.
type ower interface{ DoOwed() error }

// DoOwed has everything be done that was answered with an error and happens all the
// same; an error says that it cannot be at the moment. Who looks at what has become
// of such a change looks after it.
func (s *Store) DoOwed() error {
	if s.ower == nil {
		return nil
	}
	if err := s.ower.DoOwed(); err != nil {
		return fmt.Errorf("complete what storage has begun: %w", translate(err))
	}
	return nil
}

type togetherKey struct{}

// together is what waits for changes to be durable.
type together struct {
	outside context.Context // without the changes
	after   []func()
}

func togetherOf(ctx context.Context) *together {
	t, _ := ctx.Value(togetherKey{}).(*together)
	return t
}

// Together runs do, whose changes of storage, if they are made with the context
// that do gets, are durable when Together returns without an error. Local files
// make them so all at once, which costs as much as one of them: nobody sees any
// before, but for who asks with that context what is at their paths, and with an
// error none has happened. Elsewhere each is made as it comes. Within do, there
// is one goroutine.
func (s *Store) Together(ctx context.Context, do func(context.Context) error) error {
	if s.joint == nil || togetherOf(ctx) != nil {
		return do(ctx)
	}
	t := &together{outside: ctx}
	if err := s.joint.Together(context.WithValue(ctx, togetherKey{}, t), do); err != nil {
		return err
	}
	for _, fn := range t.after {
		fn()
	}
	return nil
}

// onceDurable has fn called once what was changed with the context is durable,
// with the context to go on with.
func onceDurable(ctx context.Context, fn func(ctx context.Context)) {
	if t := togetherOf(ctx); t != nil {
		t.after = append(t.after, func() { fn(t.outside) })
		return
	}
	fn(ctx)
}

// byItself is the context for changes that are to be durable when they are made.
func byItself(ctx context.Context) context.Context {
	if t := togetherOf(ctx); t != nil {
		return t.outside
	}
	return ctx
}

// WritesAtOnce reports whether the size of an upload is, at every moment, that of all
// which was written to it. Elsewhere distribution's writer, which looks for the
// digest of that size before each write, must be given the whole of a request in
// one: what a bucket's driver holds back would look like another upload.
func (s *Store) WritesAtOnce() bool { return s.joint != nil }
