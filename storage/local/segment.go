package local

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"regexp"
	"strconv"
)

// segmentForm is the name of a segment of the journal, in the root.
var segmentForm = regexp.MustCompile(`^\.berth-journal-[0-9]{1,9}$`)

func segmentName(n int) string { return ".berth-journal-" + strconv.Itoa(n) }

// segment is a file of the journal. It is filled with zeros before it is used,
// and then written over in place: a sync of it has nothing else to write out
// than its blocks.
type segment struct {
	name string
	file file
	size int

	// What follows is written while no other uses it, and guarded by journal.mu
	// once the segment is sealed.
	use    uint64 // counts uses of all segments: a later use has a larger one
	from   uint64 // the sequence of its first record
	offset int    // where the next group goes; 0 if not even the header is written
	// pending counts the batches whose records are durable and not done in the
	// file tree yet.
	pending int
	staged  []string
	dead    bool // a sync of it failed: it is not used again
	synced  int  // the end of the last group that is durable here alone; guarded by journal.mu
}

// segmentHeader is the first block of a segment that is in use.
type segmentHeader struct {
	generation string // of the run that writes it, see generationName
	use        uint64
	from       uint64
}

const (
	headerMagic      = "berth journal 1\n"
	generationLength = 26
	headerLength     = len(headerMagic) + generationLength + 8 + 8
)

// seed is what checksums of groups begin with.
func (h *segmentHeader) seed() uint32 { return crc32.Checksum([]byte(h.generation), castagnoli) }

func (h *segmentHeader) encode() []byte {
	b := append([]byte(headerMagic), h.generation...)
	b = binary.LittleEndian.AppendUint64(b, h.use)
	b = binary.LittleEndian.AppendUint64(b, h.from)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return append(b, make([]byte, blockSize-len(b))...)
}

func parseHeader(b []byte) (h segmentHeader, ok bool) {
	if len(b) < blockSize || string(b[:len(headerMagic)]) != headerMagic ||
		crc32.Checksum(b[:headerLength], castagnoli) != binary.LittleEndian.Uint32(b[headerLength:]) {
		return h, false
	}
	h.generation = string(b[len(headerMagic) : len(headerMagic)+generationLength])
	h.use = binary.LittleEndian.Uint64(b[headerLength-16:])
	h.from = binary.LittleEndian.Uint64(b[headerLength-8:])
	return h, true
}

// makeSegment creates a segment, whose file and entry are durable then.
func makeSegment(f files, name string, size int) (*segment, error) {
	made, err := f.open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return nil, err
	}
	zeros := make([]byte, min(size, 1<<20))
	for at := 0; at < size && err == nil; at += len(zeros) {
		_, err = made.WriteAt(zeros[:min(len(zeros), size-at)], int64(at))
	}
	if err == nil {
		err = made.Sync()
	}
	if err == nil {
		err = f.syncDir(".")
	}
	if err != nil {
		return nil, errors.Join(err, made.Close(), f.remove(name))
	}
	return &segment{name: name, file: made, size: size}, nil
}

// void makes durable that nothing in the segment counts any more.
func (s *segment) void(f files) error {
	if _, err := s.file.WriteAt(make([]byte, blockSize), 0); err != nil {
		return err
	}
	return f.datasync(s.file)
}

// reset makes it as good as new, once it is void.
func (s *segment) reset() { s.offset, s.synced, s.staged = 0, 0, nil }

// read returns the records of a segment up to an offset that has been written.
func (s *segment) read(offset int) ([]record, error) {
	if offset == 0 {
		return nil, nil
	}
	b := make([]byte, offset)
	if _, err := s.file.ReadAt(b, 0); err != nil && err != io.EOF {
		return nil, err
	}
	found, err := parseSegment(s.name, b)
	if err != nil {
		return nil, err
	}
	if found == nil || found.end != offset {
		return nil, fmt.Errorf("%s cannot be read again as it was written", s.name)
	}
	return found.below(math.MaxUint64), nil
}

// parsed is what a segment holds.
type parsed struct {
	name   string
	header segmentHeader
	groups [][]record
	end    int // where the last group ends that counts
}

// parseSegment reads a segment. What is behind the last group that is whole is
// what nobody was told of; but a group is only begun when the one before it is
// durable, so that one which is whole behind one that is not means damage.
func parseSegment(name string, b []byte) (*parsed, error) {
	header, ok := parseHeader(b)
	if !ok {
		return nil, nil
	}
	p := &parsed{name: name, header: header, end: blockSize}
	for next := header.from; p.end < len(b); {
		g, length, ok := parseGroup(b[p.end:], header.seed())
		if !ok || g.use != header.use || g.sequence != next {
			break
		}
		records, err := g.records()
		if err != nil {
			return nil, fmt.Errorf("%s at byte %d: %w", name, p.end, err)
		}
		p.groups = append(p.groups, records)
		next += uint64(len(records))
		p.end += length
	}
	for at := p.end + blockSize; at < len(b); at += blockSize {
		if g, _, ok := parseGroup(b[at:], header.seed()); ok && g.use == header.use {
			return nil, fmt.Errorf("%s is damaged at byte %d, and has changes behind it that were promised: "+
				"put it right from a copy, or move it away to go on without what was changed last", name, p.end)
		}
	}
	return p, nil
}

// below are the records before a sequence.
func (p *parsed) below(limit uint64) (all []record) {
	at := p.header.from
	for _, records := range p.groups {
		for _, r := range records {
			if at < limit {
				all = append(all, r)
			}
			at++
		}
	}
	return all
}
