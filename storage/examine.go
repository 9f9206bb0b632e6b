package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/opencontainers/go-digest"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
)

// Examine reads what is stored under a digest, and returns its size in bytes. If
// it does not have the digest, or a disk cannot read it, it is moved into
// quarantine, and the error is [ErrDamaged]: it is not stored any more. Any
// other error, of the network for one, says nothing about the bytes.
func (s *Store) Examine(ctx context.Context, d digest.Digest, by By) (size int64, err error) {
	return s.ExamineWith(ctx, d, by, nil)
}

// ExamineWith is Examine for who wants to be slow: pace, unless it is nil, is
// called after so many bytes were read, and its error ends the reading.
//
// A push does not read again what this process has stored or read before and
// nobody has touched since.
func (s *Store) ExamineWith(ctx context.Context, d digest.Digest, by By, pace func(n int) error) (size int64, err error) {
	if d.Validate() != nil {
		return 0, ErrNotFound
	}
	release, err := s.guards.take(ctx, d)
	if err != nil {
		return 0, err
	}
	defer release()
	before, err := s.printOf(ctx, d)
	if errors.Is(err, ErrNotFound) && !errors.Is(err, ErrDamaged) {
		return 0, ErrNotFound
	}
	known := fingerprint{}
	if by == ByPush {
		known, _ = s.verified.recall(d)
	}
	if before != (fingerprint{}) && before == known {
		return before.size, nil
	}
	size, reason, err := s.hash(ctx, d, pace)
	switch {
	case err != nil:
		return 0, err
	case reason != "" && s.observing:
		return 0, fmt.Errorf("%s: %s: %w", d, reason, ErrDamaged)
	case reason != "":
		s.verified.forget(d)
		if err := s.isolate(context.WithoutCancel(ctx), Finding{Digest: d, Size: size, Reason: reason, By: by}); err != nil {
			return 0, err
		}
		return 0, fmt.Errorf("%s: %s: %w", d, reason, ErrDamaged)
	}
	s.verified.remember(d, before)
	if !s.observing {
		s.healed(d) // whoever brought them may have been told that they did not come
	}
	return size, nil
}

// hash reads what is stored under a digest. reason says what is wrong with it, ""
// if nothing is.
func (s *Store) hash(ctx context.Context, d digest.Digest, pace func(int) error) (size int64, reason string, err error) {
	f, info, err := s.content.Open(ctx, d)
	if errors.Is(err, ErrDamaged) {
		return 0, "a folder is in their place", nil
	}
	if unreadableBytes(err) {
		return 0, unreadable, nil
	}
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	return hash(ctx, d, f, info, pace)
}

func hash(ctx context.Context, d digest.Digest, f io.Reader, info Info, pace func(int) error) (size int64, reason string, err error) {
	verifier := d.Verifier()
	var slow io.Writer = verifier
	if pace != nil {
		slow = pacedWriter{verifier, pace}
	}
	_, err = io.CopyBuffer(slow, onlyRead{ctx, f}, make([]byte, 256<<10))
	switch {
	case unreadableBytes(err):
		return info.Size, unreadable, nil
	case err != nil:
		return 0, "", err
	case !verifier.Verified():
		return info.Size, otherBytes, nil
	}
	return info.Size, "", nil
}

// onlyRead reads until ctx ends, and has no other method that io.Copy could use.
type onlyRead struct {
	ctx context.Context
	r   io.Reader
}

func (o onlyRead) Read(p []byte) (int, error) {
	if err := o.ctx.Err(); err != nil {
		return 0, err
	}
	return o.r.Read(p)
}

type pacedWriter struct {
	io.Writer
	pace func(int) error
}

func (p pacedWriter) Write(b []byte) (int, error) {
	n, err := p.Writer.Write(b)
	if err == nil {
		err = p.pace(n)
	}
	return n, err
}

// unreadableBytes reports whether an error says that a disk has lost what it
// held: it will not come back by asking again.
func unreadableBytes(err error) bool {
	var driver storagedriver.Error
	if errors.As(err, &driver) && driver.Detail != nil {
		return unreadableBytes(driver.Detail) // it hides its cause from errors.Is
	}
	return errors.Is(err, syscall.EIO)
}

// Unreadable reports whether an error of reading stored bytes is reason to look
// at them with [Store.Examine].
func Unreadable(err error) bool { return err != nil && unreadableBytes(err) }

// fingerprint tells whether a file is the one that it was. The zero value is of
// nothing that is known.
type fingerprint struct {
	size     int64
	modified time.Time
	file     fileID // of a local file, which nobody can set at will
}

// printOf is the fingerprint of what is stored under a digest, zero and maybe an
// error if it cannot be had.
func (s *Store) printOf(ctx context.Context, d digest.Digest) (fingerprint, error) {
	if opened, ok := s.content.(driverContent); ok && opened.local {
		f, info, err := opened.openFile(ctx, d)
		if err != nil || f == nil {
			return fingerprint{}, err
		}
		defer f.Close()
		if file, ok := f.(*os.File); ok {
			return fingerprint{info.Size, info.Modified, idOf(file)}, nil
		}
	}
	info, err := s.content.Stat(ctx, d)
	if err != nil {
		return fingerprint{}, err
	}
	return fingerprint{size: info.Size, modified: info.Modified}, nil
}

// maxVerified bounds how many digests are remembered as right: some megabytes.
const maxVerified = 1 << 14

// verified remembers which bytes were right when they were last read or stored.
type verified struct {
	mu    sync.Mutex
	byUse *simplelru.LRU[digest.Digest, fingerprint] // guarded by mu
}

func newVerified() *verified {
	v := &verified{}
	v.byUse, _ = simplelru.NewLRU[digest.Digest, fingerprint](maxVerified, nil) // of a size above 0
	return v
}

// remember notes that bytes are right. Where times are whole seconds, as in a
// bucket, those of a moment ago may yet be written over without a trace.
func (v *verified) remember(d digest.Digest, f fingerprint) {
	const moment = 5 * time.Second
	wholeSeconds := f.file == (fileID{}) && f.modified.Nanosecond() == 0
	if f == (fingerprint{}) || wholeSeconds && time.Since(f.modified) < moment {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.byUse.Add(d, f)
}

func (v *verified) recall(d digest.Digest) (fingerprint, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.byUse.Get(d)
}

func (v *verified) forget(d digest.Digest) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.byUse.Remove(d)
}
