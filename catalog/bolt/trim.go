package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/berth-oci/berth/catalog/index"
)

// Trim implements index.Feed.
func (i *Index) Trim(ctx context.Context, keep int64, before time.Time, n int) (more bool, err error) {
	if n <= 0 {
		return false, errors.New("nothing is trimmed in steps of nothing")
	}
	var doomed [][]byte
	look := func(s *session) error {
		doomed, more = nil, false
		b := s.at(tableChanges)
		c := b.Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			if b.Sequence()-binary.BigEndian.Uint64(k) < uint64(max(keep, 0)) { //nolint:gosec // not negative
				if change, _, _, err := decodeChange(v); err != nil || !change.Time.Before(before) {
					return err
				}
			}
			if len(doomed) == n {
				more = true
				return nil
			}
			doomed = append(doomed, bytes.Clone(k))
		}
		return nil
	}
	if err := i.view(ctx, "upkeep", look); err != nil || len(doomed) == 0 {
		return false, err
	}
	err = i.update("upkeep", func(s *session) error {
		for _, k := range doomed {
			if err := s.trim(k); err != nil {
				return err
			}
		}
		return nil
	})
	return more, err
}

// trim forgets a record, and a repository that is gone with its last one.
func (s *session) trim(key []byte) error {
	value := s.at(tableChanges).Get(key)
	if value == nil {
		return nil
	}
	_, repository, _, err := decodeChange(value)
	if err != nil {
		return err
	}
	number := numbered(repository, kindName)[:numberLength]
	if former := s.at(tableFormer).Get(number); former != nil {
		last, _, err := decodeFormer(former)
		if err != nil {
			return err
		}
		if last <= binary.BigEndian.Uint64(key) {
			if err := s.at(tableFormer).Delete(number); err != nil {
				return err
			}
		}
	}
	return s.at(tableChanges).Delete(key)
}

// leave keeps the name of a repository that is gone, for the records of it.
func (r *repoTx) leave() error {
	if r.known.last == 0 {
		return nil
	}
	e := newEncoder()
	e.uint(r.known.last)
	e.string(r.repository)
	return r.at(tableFormer).Put(r.key(kindName)[:numberLength], e.b)
}

// Pushed implements index.Feed.
func (i *Index) Pushed(ctx context.Context, repository, tag string) (p index.Push, err error) {
	err = i.read(ctx, "feed", repository, func(r *repoTx) error {
		value := r.data().Get(append(r.key(kindPushed), tag...))
		if value == nil {
			return index.ErrNotFound
		}
		p, err = decodePush(value)
		return err
	})
	return p, err
}

func decodePush(value []byte) (index.Push, error) {
	d := newDecoder(value)
	p := index.Push{Time: time.UnixMicro(d.int()).UTC(), By: d.string()}
	return p, d.err
}

// pushedBy keeps who has set a tag, and when. What nobody has asked for, and what
// is not pushed, has nothing kept.
func (r *repoTx) pushedBy(tag, by string, at time.Time) error {
	if at.IsZero() {
		return nil
	}
	e := newEncoder()
	e.int(at.UnixMicro())
	e.string(by)
	return r.data().Put(append(r.key(kindPushed), tag...), e.b)
}
