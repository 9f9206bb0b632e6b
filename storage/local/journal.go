package local

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// The size of a segment in bytes: a part of the file system's, within bounds.
const (
	largestSegment  = 8 << 20
	smallestSegment = 256 << 10
	partOfDisk      = 64
)

// journal writes down what is going to be done in the file tree. Who waits at the
// same time shares a sync.
type journal struct {
	files   files
	folders *folders
	run     string // the generation
	// prepare is called before anything of the journal is made, and again if that
	// could not be made durable.
	prepare  func() error
	prepared sync.Mutex
	ready    bool // guarded by prepared
	made     bool // a segment has been; guarded by prepared
	lost     func()
	size     int // of a segment in bytes

	next atomic.Uint64 // the sequence of the next record
	// stageFailures counts the syncs of the stage that failed: names that were
	// given before may be lost.
	stageFailures atomic.Uint64

	mu      sync.Mutex
	changed sync.Cond // of all below
	queue   []*batch
	running bool
	uses    uint64
	names   int
	current *segment
	sealed  []*segment // to be done in the file tree, oldest first
	free    []*segment
	// attempts counts what the background did for a free segment, and failed is
	// how the last of it ended.
	attempts uint64
	failed   error
	kick     chan struct{} // wakes the background
	ended    bool
}

// batch is what is durable as one: all of it, or nothing.
type batch struct {
	records []record
	segment *segment // where it is, once it is durable
	done    chan error
}

func (b *batch) size() (bytes int) {
	for i := range b.records {
		bytes += b.records[i].size()
	}
	return bytes
}

func newJournal(f files, folders *folders, run string, prepare func() error, lost func()) *journal {
	j := &journal{files: f, folders: folders, run: run, prepare: prepare, lost: lost, kick: make(chan struct{}, 1)}
	j.size = int(min(max(f.space()/partOfDisk, smallestSegment), largestSegment)) / blockSize * blockSize
	j.changed.L = &j.mu
	folders.sequence = j.next.Load
	return j
}

// commit returns when the records are durable, or will never count. After it
// returned without an error, the caller does them in the file tree, and calls
// applied.
func (j *journal) commit(b *batch) error {
	b.done = make(chan error, 1)
	j.mu.Lock()
	j.queue = append(j.queue, b)
	if !j.running {
		j.running = true
		go j.work()
	}
	j.mu.Unlock()
	return <-b.done
}

// applied says that a batch has been done in the file tree.
func (j *journal) applied(b *batch) {
	j.mu.Lock()
	defer j.mu.Unlock()
	b.segment.pending--
	j.changed.Broadcast()
}

// work writes for group after group, until nobody waits.
func (j *journal) work() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for len(j.queue) > 0 {
		batches := j.take()
		j.mu.Unlock()
		batches, err := j.staged(batches)
		if err == nil && len(batches) > 0 {
			err = j.write(batches)
		}
		for _, b := range batches {
			b.done <- err
		}
		j.mu.Lock()
	}
	j.running = false
	j.changed.Broadcast()
}

// take are those of the queue that are written together: what fits into a
// segment, and at least one. The caller holds mu.
func (j *journal) take() []*batch {
	bytes, n := 0, 0
	for n < len(j.queue) {
		if bytes += j.queue[n].size(); n > 0 && blockSize+padded(bytes) > j.size {
			break
		}
		n++
	}
	batches := slices.Clone(j.queue[:n])
	j.queue = slices.Delete(j.queue, 0, n)
	return batches
}

// write makes batches durable. If that fails, they do not count, also after a
// crash.
func (j *journal) write(batches []*batch) error {
	bytes, g := 0, group{}
	for _, b := range batches {
		bytes += b.size()
		g.count += len(b.records)
	}
	s, err := j.room(padded(bytes))
	if err != nil {
		return err
	}
	g.use, g.sequence = s.use, j.next.Load()
	for _, b := range batches {
		for i := range b.records {
			r := &b.records[i]
			r.fresh = j.folders.depth(r.path, s.from)
			g.payload = r.append(g.payload)
		}
	}
	for _, b := range batches {
		for _, r := range b.records {
			if r.kind == placed {
				s.staged = append(s.staged, r.staged)
			}
		}
	}
	if err := j.put(s, &g); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, b := range batches {
		b.segment = s
	}
	if s.synced = s.offset; j.needsAnother() {
		j.wake()
	}
	s.pending += len(batches)
	return nil
}

// needsAnother reports whether the only segment will soon be full. The caller
// holds mu.
func (j *journal) needsAnother() bool {
	return len(j.sealed)+len(j.free) == 0 && j.current != nil && j.current.synced > j.current.size/2
}

// staged makes the stage durable, if batches need it, and leaves out those that
// it is too late for.
func (j *journal) staged(batches []*batch) (left []*batch, err error) {
	needed := false
	for _, b := range batches {
		lost := false
		for _, r := range b.records {
			needed = needed || r.kind == placed
			lost = lost || r.kind == placed && r.stageFailures != j.stageFailures.Load()
		}
		if lost {
			b.done <- errFailed
		} else {
			left = append(left, b)
		}
	}
	if needed && len(left) > 0 {
		if err := j.files.syncDir(stage); err != nil {
			j.stageFailures.Add(1)
			return left, err
		}
	}
	return left, nil
}

// put writes a group to where the segment goes on, and makes it durable; no
// group makes durable that the segment is in use.
func (j *journal) put(s *segment, g *group) error {
	header := segmentHeader{generation: j.run, use: s.use, from: s.from}
	var b []byte
	if s.offset == 0 {
		b = header.encode()
	}
	if g != nil {
		b = g.encode(b, header.seed())
	}
	// What is written in part will be written over: nobody has synced it.
	if _, err := s.file.WriteAt(b, int64(s.offset)); err != nil {
		return err
	}
	if err := j.files.datasync(s.file); err != nil {
		j.abandon(s, g != nil)
		return err
	}
	s.offset += len(b)
	if g != nil {
		j.next.Add(uint64(g.count))
	}
	return nil
}

// abandon ends the use of a segment of which a sync failed. The group may be
// there after a crash all the same; so another segment says that it begins with
// the sequence that the group had. If that fails too, the next group says it.
func (j *journal) abandon(s *segment, again bool) {
	j.mu.Lock()
	s.dead = true
	j.seal()
	j.mu.Unlock()
	if !again {
		return
	}
	if next, err := j.room(0); err == nil {
		_ = j.put(next, nil)
	}
}

// seal ends the use of the current segment. The caller holds mu.
func (j *journal) seal() {
	if j.current == nil {
		return
	}
	if j.current.offset == 0 && !j.current.dead {
		j.free = append(j.free, j.current)
	} else {
		j.sealed = append(j.sealed, j.current)
	}
	j.current = nil
	j.wake()
}

// wake has the background look for what there is to do.
func (j *journal) wake() {
	select {
	case j.kick <- struct{}{}:
	default:
	}
}

// room returns a segment that has so many bytes left. It waits until there is
// one, or the background could not free any.
func (j *journal) room(bytes int) (*segment, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for {
		if s := j.current; s != nil {
			if max(s.offset, blockSize)+bytes <= s.size {
				return s, nil
			}
			j.seal()
		}
		switch {
		case blockSize+bytes > j.size:
			return nil, fmt.Errorf("a change of %d bytes does not fit into the journal", bytes)
		case len(j.free) > 0:
			j.current, j.free = j.free[0], j.free[1:]
			j.uses++
			j.current.use, j.current.from = j.uses, j.next.Load()
		case j.ended:
			return nil, errClosed
		case len(j.sealed) == 0:
			s, err := j.grow()
			if err != nil {
				return nil, err
			}
			j.free = append(j.free, s)
		default:
			attempt := j.attempts
			j.wake()
			for j.attempts == attempt && len(j.free) == 0 && !j.ended {
				j.changed.Wait()
			}
			if len(j.free) == 0 && j.failed != nil {
				return nil, fmt.Errorf("the journal is full: %w", j.failed)
			}
		}
	}
}

// begin has what the journal needs besides its segments.
func (j *journal) begin() error {
	j.prepared.Lock()
	defer j.prepared.Unlock()
	if j.ready {
		return nil
	}
	err := j.prepare()
	j.ready = err == nil
	return err
}

// grow makes another segment. The caller holds mu, which is free meanwhile.
func (j *journal) grow() (*segment, error) {
	j.names++
	name := segmentName(j.names)
	j.mu.Unlock()
	defer j.mu.Lock()
	err := j.begin()
	var s *segment
	if err == nil {
		s, err = makeSegment(j.files, name, j.size)
	}
	if err != nil {
		j.lost() // entries of the root, if it could not be synced
	}
	j.prepared.Lock()
	defer j.prepared.Unlock()
	if j.made = j.made || err == nil; !j.made {
		j.ready = false
		j.stageFailures.Add(1) // it is made anew
	}
	return s, err
}
