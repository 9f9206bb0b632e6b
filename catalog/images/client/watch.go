package client

import (
	"cmp"
	"context"
	"reflect"
	"sync"
	"time"
)

// WatchOptions say what a [Watcher] keeps, and who is told.
type WatchOptions struct {
	// Namespaces and Repositories are as in [ChangesOptions].
	Namespaces   []string
	Repositories []string
	// OnAdd, OnUpdate and OnDelete are told what has become of an image, one call at a
	// time, in order, and after the Watcher shows it. What they are given is not to be
	// changed. Each may be nil.
	OnAdd    func(image Image)
	OnUpdate func(before, now Image)
	OnDelete func(image Image)
	// OnSync is told that the Watcher shows a list as it was at one moment, once all
	// handlers have been told of it: at the beginning, after each list that it had to
	// make again, and whenever it has caught up. It may be nil.
	OnSync func(revision string)
	// OnRetry is as in [ChangesOptions]; it is told too when all is listed again.
	OnRetry func(err error, wait time.Duration) error
}

// Watcher keeps a copy of the list of images, in memory, and tells what changes in it.
// What it shows is as new as what it was last told: an image that has just been pushed
// may not be there yet, where [Client.Get] has it. It is safe for concurrent use.
type Watcher struct {
	client  *Client
	options WatchOptions
	synced  chan struct{} // closed once all that was there is shown

	mu   sync.RWMutex
	held held // guarded by mu
	once sync.Once

	// fresh is a list that is being made, nil for none. Only Run has it.
	fresh *held
}

// Watch returns a Watcher, which shows nothing until [Watcher.Run] is called.
func (c *Client) Watch(o WatchOptions) *Watcher {
	return &Watcher{client: c, options: o, synced: make(chan struct{}), held: newHeld()}
}

// Run keeps the copy, until ctx ends, or an error that does not pass by itself: see
// [Client.Changes]. Where berth cannot tell all that has changed, everything is listed
// again, and handlers are told the difference alone. What is shown stays when Run
// ends. It is called once.
func (w *Watcher) Run(ctx context.Context) error {
	for tries := 0; ; tries++ {
		begun := false
		err := w.follow(ctx, &begun)
		if !IsGone(err) {
			return err
		}
		if begun {
			tries = 0
		}
		if err := w.client.rest(ctx, tries, err, w.options.OnRetry); err != nil {
			return err
		}
	}
}

// follow lists and follows until an error; begun is set once the list is whole.
func (w *Watcher) follow(ctx context.Context, begun *bool) error {
	o := ChangesOptions{Initial: true, Namespaces: w.options.Namespaces, Repositories: w.options.Repositories, OnRetry: w.options.OnRetry}
	for change, err := range w.client.Changes(ctx, o) {
		if err != nil {
			return err
		}
		w.apply(change)
		*begun = *begun || change.Type == TypeBookmark
	}
	return ctx.Err()
}

// apply takes a change into the copy, or into the list that is being made.
func (w *Watcher) apply(change Change) {
	switch change.Type {
	case TypeBegin:
		fresh := newHeld()
		w.fresh = &fresh
		return
	case TypeBookmark:
		if list := w.fresh; list != nil {
			w.fresh = nil
			w.replace(list)
		}
		w.once.Do(func() { close(w.synced) })
		if w.options.OnSync != nil {
			w.options.OnSync(change.Revision)
		}
		return
	}
	for _, gone := range change.Gone {
		w.remove(gone.UUID)
	}
	for _, image := range change.Images {
		w.put(image)
	}
}

// replace shows a list in place of what was shown.
func (w *Watcher) replace(list *held) {
	for _, image := range w.Images() {
		if _, ok := list.images[image.UUID]; !ok {
			w.remove(image.UUID)
		}
	}
	for _, image := range list.sorted() {
		w.put(image)
	}
}

func (w *Watcher) put(image Image) {
	if w.fresh != nil {
		w.fresh.put(image)
		return
	}
	w.mu.Lock()
	before, there := w.held.images[image.UUID]
	w.held.put(image)
	w.mu.Unlock()
	switch {
	case !there && w.options.OnAdd != nil:
		w.options.OnAdd(image)
	case there && w.options.OnUpdate != nil && !reflect.DeepEqual(before, image):
		w.options.OnUpdate(before, image)
	}
}

func (w *Watcher) remove(uuid string) {
	if w.fresh != nil {
		w.fresh.remove(uuid)
		return
	}
	w.mu.Lock()
	before, there := w.held.images[uuid]
	w.held.remove(uuid)
	w.mu.Unlock()
	if there && w.options.OnDelete != nil {
		w.options.OnDelete(before)
	}
}

// HasSynced reports whether all that was there at one moment is shown.
func (w *Watcher) HasSynced() bool {
	select {
	case <-w.synced:
		return true
	default:
		return false
	}
}

// WaitForSync waits until HasSynced, or returns the error of ctx.
func (w *Watcher) WaitForSync(ctx context.Context) error {
	select {
	case <-w.synced:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Images returns all that is shown, by name and creation time. Its images are not to
// be changed, here and below.
func (w *Watcher) Images() []Image {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.held.sorted()
}

// Get looks an image up as [Client.Get] does, by user/app:tag, user/app@sha256:…,
// sha256:… or its UUID, without a host in front, in what is shown.
func (w *Watcher) Get(image string) (Image, bool) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.held.get(image)
}

func byName(a, b Image) int {
	return cmp.Or(cmp.Compare(a.Name(), b.Name()), a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.UUID, b.UUID))
}
