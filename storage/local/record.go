package local

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// kind says what a record does to its path.
type recordKind uint8

const (
	// written: the path holds the content.
	written recordKind = iota + 1
	// placed: the path is the file that is staged under a name.
	placed
	// deleted: there is nothing at the path.
	deleted
)

// record is one change of one path, as the journal has it.
type record struct {
	kind     recordKind
	path     string
	modified time.Time // of what is written
	content  []byte    // of what is written
	staged   string    // the name of what is placed
	// fresh is how many components of the path lead to the topmost folder that
	// was created since the journal's segment began, 0 for none.
	fresh int
	// stageFailures is what those of the journal were when it was staged; it is
	// not written down.
	stageFailures uint64
}

// The sizes of a block, which is never written again once it was synced, and of
// what stands before the records of a group and before the fields of a record,
// all in bytes.
const (
	blockSize   = 4096
	groupHeader = 32
	recordSize  = 1 + 2 + 8 + 4 + 2 + 4
)

const groupMagic = 0x62_67_72_70

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// size is what the record takes in a group.
func (r *record) size() int {
	return recordSize + len(r.path) + len(r.content) + len(r.staged)
}

func (r *record) append(b []byte) []byte {
	b = append(b, byte(r.kind))
	b = binary.LittleEndian.AppendUint16(b, uint16(r.fresh))
	b = binary.LittleEndian.AppendUint64(b, uint64(r.modified.Unix()))
	b = binary.LittleEndian.AppendUint32(b, uint32(r.modified.Nanosecond()))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(r.path)))
	data := r.content
	if r.kind == placed {
		data = []byte(r.staged)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	return append(append(b, r.path...), data...)
}

var errRecord = errors.New("a record is not valid")

// parseRecord returns the first record of b, and the rest.
func parseRecord(b []byte) (r record, rest []byte, err error) {
	if len(b) < recordSize {
		return r, nil, errRecord
	}
	r.kind = recordKind(b[0])
	r.fresh = int(binary.LittleEndian.Uint16(b[1:]))
	r.modified = time.Unix(int64(binary.LittleEndian.Uint64(b[3:])), int64(binary.LittleEndian.Uint32(b[11:])))
	name, size := int(binary.LittleEndian.Uint16(b[15:])), int64(binary.LittleEndian.Uint32(b[17:]))
	if b = b[recordSize:]; int64(len(b)) < int64(name)+size || r.kind < written || r.kind > deleted {
		return r, nil, errRecord
	}
	r.path = string(b[:name])
	data := b[name : name+int(size)]
	if r.kind == placed {
		r.staged = string(data)
	} else {
		r.content = data
	}
	return r, b[name+int(size):], nil
}

// group is what one sync makes durable: records that follow each other.
type group struct {
	use      uint64 // of the segment
	sequence uint64 // of its first record
	count    int
	payload  []byte
}

// padded is how many bytes records of so many bytes take as a group.
func padded(bytes int) int { return (groupHeader + bytes + blockSize - 1) / blockSize * blockSize }

// encode makes whole blocks of the group. Its checksum covers all of them, and
// begins with a seed that nobody knows who could have such blocks stored as
// content.
func (g *group) encode(b []byte, seed uint32) []byte {
	begin := len(b)
	b = binary.LittleEndian.AppendUint32(b, groupMagic)
	b = append(b, 0, 0, 0, 0) // the checksum
	b = binary.LittleEndian.AppendUint64(b, g.use)
	b = binary.LittleEndian.AppendUint64(b, g.sequence)
	b = binary.LittleEndian.AppendUint32(b, uint32(g.count))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(g.payload)))
	b = append(b, g.payload...)
	b = append(b, make([]byte, padded(len(g.payload))-(len(b)-begin))...)
	binary.LittleEndian.PutUint32(b[begin+4:], crc32.Update(seed, castagnoli, b[begin+8:]))
	return b
}

// parseGroup returns the group at the start of b, and how many bytes it takes;
// false if there is none that is whole.
func parseGroup(b []byte, seed uint32) (g group, length int, ok bool) {
	if len(b) < groupHeader || binary.LittleEndian.Uint32(b) != groupMagic {
		return g, 0, false
	}
	payload := int64(binary.LittleEndian.Uint32(b[28:]))
	if payload > int64(len(b)-groupHeader) {
		return g, 0, false
	}
	if length = padded(int(payload)); length > len(b) || crc32.Update(seed, castagnoli, b[8:length]) != binary.LittleEndian.Uint32(b[4:]) {
		return g, 0, false
	}
	g = group{
		use: binary.LittleEndian.Uint64(b[8:]), sequence: binary.LittleEndian.Uint64(b[16:]),
		count: int(binary.LittleEndian.Uint32(b[24:])), payload: b[groupHeader : groupHeader+int(payload)],
	}
	return g, length, true
}

// records are those of the group.
func (g *group) records() ([]record, error) {
	var all []record
	for rest := g.payload; len(rest) > 0; {
		r, more, err := parseRecord(rest)
		if err != nil {
			return nil, err
		}
		all, rest = append(all, r), more
	}
	if len(all) != g.count {
		return nil, fmt.Errorf("%w: a group has %d records, and says %d", errRecord, len(all), g.count)
	}
	return all, nil
}
