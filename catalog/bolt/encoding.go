package bolt

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// encodingVersion begins every value. A form that an older berth would misread
// gets another one.
const encodingVersion = 1

// errValue says that a value cannot be read: the file is damaged.
var errValue = errors.New("the index has a value that cannot be read")

// known are strings that are written as a number. The list only grows.
var known = []string{
	"",
	"application/vnd.oci.image.manifest.v1+json",
	"application/vnd.oci.image.index.v1+json",
	"application/vnd.oci.image.config.v1+json",
	"application/vnd.oci.image.layer.v1.tar",
	"application/vnd.oci.image.layer.v1.tar+gzip",
	"application/vnd.oci.image.layer.v1.tar+zstd",
	"application/vnd.oci.empty.v1+json",
	"application/vnd.docker.distribution.manifest.v2+json",
	"application/vnd.docker.distribution.manifest.list.v2+json",
	"application/vnd.docker.container.image.v1+json",
	"application/vnd.docker.image.rootfs.diff.tar.gzip",
	"application/vnd.unikraft.kernel.v1",
	"application/vnd.unikraft.image.v1",
	"application/vnd.unikraft.initrd.v1",
	"application/vnd.unikraft.rom.v1",
	"kraftcloud", "fc", "qemu", "xen", "linux", "unknown",
	"x86_64", "arm64", "amd64", "aarch64", "arm",
}

var knownNumbers = func() map[string]uint64 {
	m := make(map[string]uint64, len(known))
	for i, s := range known {
		m[s] = uint64(i)
	}
	return m
}()

// algorithms are those of digests, by the byte that stands for each: a digest
// sorts as its text does.
var algorithms = [...]digest.Algorithm{1: digest.SHA256, 2: digest.SHA384, 3: digest.SHA512}

// hashSizes are the lengths of their hashes in bytes.
var hashSizes = [...]int{1: 32, 2: 48, 3: 64}

// numberOf is the byte of the algorithm of a digest of the usual form, and its
// hash as text; 0 for any other.
func numberOf(d digest.Digest) (number byte, hash string) {
	const colon = len("sha256")
	if len(d) <= colon || d[colon] != ':' {
		return 0, ""
	}
	hash = string(d[colon+1:])
	switch algorithm := digest.Algorithm(d[:colon]); {
	case algorithm == digest.SHA256 && len(hash) == 64:
		return 1, hash
	case algorithm == digest.SHA384 && len(hash) == 96:
		return 2, hash
	case algorithm == digest.SHA512 && len(hash) == 128:
		return 3, hash
	}
	return 0, ""
}

// appendDigest appends the bytes of a digest, which say by themselves where they
// end. One that is not of the usual form is kept as text.
func appendDigest(b []byte, d digest.Digest) []byte {
	if number, hash := numberOf(d); number != 0 {
		n := len(b)
		b = append(b, number)
		if b, ok := appendHex(b, hash); ok {
			return b
		}
		b = b[:n]
	}
	return append(binary.AppendUvarint(append(b, 0), uint64(len(d))), d...)
}

// appendHex appends what lower-case hexadecimal digits say, if they are such.
func appendHex(b []byte, digits string) (appended []byte, ok bool) {
	for i := 0; i < len(digits); i += 2 {
		high, low := nibbles[digits[i]], nibbles[digits[i+1]]
		if high > 15 || low > 15 {
			return b, false
		}
		b = append(b, high<<4|low)
	}
	return b, true
}

// nibbles are the values of lower-case hexadecimal digits, 0xff for what is none.
var nibbles = func() (table [256]byte) {
	for c := range table {
		table[c] = 0xff
	}
	for i, c := range []byte("0123456789abcdef") {
		table[c] = byte(i)
	}
	return table
}()

// cutDigest reads a digest from the beginning of b.
func cutDigest(b []byte) (d digest.Digest, rest []byte, ok bool) {
	raw, rest, ok := cutRaw(b)
	if !ok {
		return "", b, false
	}
	return (*arena)(nil).digest(raw), rest, true
}

// cutRaw cuts the bytes of a digest off the beginning of b.
func cutRaw(b []byte) (raw, rest []byte, ok bool) {
	if len(b) == 0 {
		return nil, b, false
	}
	if b[0] == 0 {
		n, read := binary.Uvarint(b[1:])
		if read <= 0 || n > uint64(len(b)-1-read) {
			return nil, b, false
		}
		end := 1 + read + int(n) //nolint:gosec // bounded by len(b)
		return b[:end], b[end:], true
	}
	if int(b[0]) >= len(algorithms) {
		return nil, b, false
	}
	end := 1 + hashSizes[b[0]]
	if len(b) < end {
		return nil, b, false
	}
	return b[:end], b[end:], true
}

// rawText is the text of a digest of an unusual form.
func rawText(raw []byte) []byte {
	_, read := binary.Uvarint(raw[1:])
	return raw[1+read:]
}

// encoder writes a value.
type encoder struct{ b []byte }

func newEncoder() *encoder { return &encoder{b: []byte{encodingVersion}} }

func (e *encoder) uint(n uint64)          { e.b = binary.AppendUvarint(e.b, n) }
func (e *encoder) int(n int64)            { e.b = binary.AppendVarint(e.b, n) }
func (e *encoder) digest(d digest.Digest) { e.b = appendDigest(e.b, d) }

func (e *encoder) string(s string) {
	if n, ok := knownNumbers[s]; ok {
		e.uint(n<<1 | 1)
		return
	}
	e.uint(uint64(len(s)) << 1)
	e.b = append(e.b, s...)
}

func (e *encoder) strings(list []string) {
	e.uint(uint64(len(list)))
	for _, s := range list {
		e.string(s)
	}
}

// dictionary writes a map in the order of its keys.
func (e *encoder) dictionary(m map[string]string) {
	e.uint(uint64(len(m)))
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		e.string(k)
		e.string(m[k])
	}
}

// time keeps a time to the nanosecond, and none as one byte.
func (e *encoder) time(t time.Time) {
	if t.IsZero() {
		e.uint(0)
		return
	}
	e.uint(uint64(t.Nanosecond()) + 1)
	e.int(t.Unix())
}

// decoder reads a value. After an error everything is zero; so is what a value
// does not have any more, which an older berth has written.
type decoder struct {
	b   []byte
	err error
	// in is where what is read is kept.
	in *arena
	// brief says that what [index.Query.Brief] leaves out is passed over.
	brief bool
}

func newDecoder(value []byte) *decoder { return new(decoder).on(value) }

// on has the decoder read another value.
func (d *decoder) on(value []byte) *decoder {
	d.b, d.err = nil, nil
	if len(value) == 0 || value[0] != encodingVersion {
		d.err = errValue
	} else {
		d.b = value[1:]
	}
	return d
}

func (d *decoder) fail() {
	d.b, d.err = nil, errValue
}

func (d *decoder) uint() uint64 {
	if len(d.b) == 0 {
		return 0
	}
	if n := d.b[0]; n < 0x80 {
		d.b = d.b[1:]
		return uint64(n)
	}
	n, read := binary.Uvarint(d.b)
	if read <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[read:]
	return n
}

func (d *decoder) int() int64 {
	if len(d.b) == 0 {
		return 0
	}
	n, read := binary.Varint(d.b)
	if read <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[read:]
	return n
}

// count is the length of a list, each element of which takes at least so many
// bytes.
func (d *decoder) count(least int) int {
	n := d.uint()
	if n > uint64(len(d.b)/least) {
		d.fail()
		return 0
	}
	return int(n) //nolint:gosec // bounded by len(d.b)
}

func (d *decoder) digest() digest.Digest {
	raw := d.raw()
	if raw == nil {
		return ""
	}
	return d.in.digest(raw)
}

// raw is the bytes of a digest, nil after an error.
func (d *decoder) raw() []byte {
	raw, rest, ok := cutRaw(d.b)
	if !ok {
		d.fail()
		return nil
	}
	d.b = rest
	return raw
}

func (d *decoder) string() string {
	n := d.uint()
	if n&1 == 1 {
		if n>>1 >= uint64(len(known)) {
			d.fail()
			return ""
		}
		return known[n>>1]
	}
	n >>= 1
	if n > uint64(len(d.b)) {
		d.fail()
		return ""
	}
	s := d.in.string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *decoder) skipString() {
	n := d.uint()
	if n&1 == 1 {
		return
	}
	if n >>= 1; n > uint64(len(d.b)) {
		d.fail()
		return
	}
	d.b = d.b[n:]
}

// strings is nil for an empty list.
func (d *decoder) strings() []string {
	n := d.count(1)
	if n == 0 {
		return nil
	}
	list := d.in.takeStrings(n)
	for i := range list {
		list[i] = d.string()
	}
	return list
}

// dictionary is nil for an empty map. Images that are read together may have the
// same one.
func (d *decoder) dictionary() map[string]string {
	at := d.b
	if m, length := d.in.sameDictionary(at); length > 0 {
		d.b = at[length:]
		return m
	}
	n := d.count(2)
	if n == 0 {
		return nil
	}
	m := make(map[string]string, n)
	for range n {
		k := d.string()
		m[k] = d.string()
	}
	if d.err == nil {
		d.in.keepDictionary(at[:len(at)-len(d.b)], m)
	}
	return m
}

func (d *decoder) skipDictionary() {
	for range d.count(2) {
		d.skipString()
		d.skipString()
	}
}

func (d *decoder) time() time.Time {
	n := d.uint()
	if n == 0 {
		return time.Time{}
	}
	if n > uint64(time.Second) {
		d.fail()
		return time.Time{}
	}
	return time.Unix(d.int(), int64(n-1)).UTC()
}

// size is a number of bytes, or of things, that is not negative.
func (d *decoder) size() int64 {
	n := d.uint()
	if n > math.MaxInt64 {
		d.fail()
		return 0
	}
	return int64(n)
}
