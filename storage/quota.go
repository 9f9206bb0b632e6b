package storage

import "time"

// MinCounted is what each thing that a namespace keeps counts at least, in
// bytes: also what is tiny costs a file and a place in the index.
const MinCounted = 4 << 10

// Counted is what something of so many bytes counts.
func Counted(bytes int64) int64 { return max(bytes, MinCounted) }

// Usage is what a namespace keeps. Except for Images and Reservations it is in
// bytes; each thing counts [MinCounted] at least.
type Usage struct {
	// Images counts the listed ones.
	Images int64 `json:"images"`
	// Bytes is what is stored and counts: manifests, tags, and the blobs that are
	// linked, each once, and [MinCounted] for every further repository that links
	// it. A blob counts from the moment on when it is linked, until the last
	// manifest that refers to it is deleted, or its last link.
	Bytes int64 `json:"bytes"`
	// Uncollected is what is stored and counts no longer: blobs and manifests that
	// nothing refers to any more, until they are collected.
	Uncollected int64 `json:"uncollected,omitempty"`
	// Reserved is what is set aside for what is on its way in, and Reservations is
	// for how many things. They are not kept over a restart.
	Reserved     int64 `json:"-"`
	Reservations int64 `json:"-"`
}

// Used is what counts against a quota.
func (u Usage) Used() int64 { return u.Bytes + u.Reserved }

// Reservation is room in a namespace for something on its way in.
type Reservation struct {
	// Key names it within the namespace.
	Key string
	// Bytes are set aside until a time; 0 end the reservation.
	Bytes int64
	Until time.Time
	// Limit is what the namespace may come to with it, in bytes; below 0 there
	// is no limit. Most is how many reservations it may then have; 0 is any
	// number.
	Limit int64
	Most  int64
}
