// Package storage is where berth's bytes live: it opens the configured driver
// and reads repositories as they are stored. It knows neither HTTP nor
// unikernels.
//
// The layout is distribution's, so any distribution registry can serve what
// berth stored, and the other way round (see layout.go).
package storage

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"strings"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/factory"
)

// Store is an opened storage driver and what berth reads through it. It is
// safe for concurrent use; it orders nothing by itself.
type Store struct {
	driver   storagedriver.StorageDriver
	content  Content
	identity string
	closer   io.Closer // nil for a driver that has nothing to close
	joint    joint     // nil for a driver that makes each change by itself
	timed    timed     // nil for a driver that cannot choose times
	lister   lister    // nil for a driver that lists a folder only as a whole
	fresh    refresher // nil for a driver whose every write sets the time
	ower     ower      // nil for a driver of which an error says that nothing more happens
	settler  settler   // nil for a driver that gives back room at once

	room  func() (free, size int64, err error) // nil where nobody knows
	floor int64                                // see KeepFree

	observing  bool // see Observing
	guards     guards
	reliance   reliance
	verified   *verified
	quarantine *quarantine
	notes      *noteFiles
}

// own are the drivers that berth has in place of distribution's, by the kind
// for which they stand, with the name by which they are opened.
var own = map[string]string{"filesystem": "berth-local"}

// Open opens the driver of a kind with its parameters, as distribution names
// both; local files have a driver of berth's own. It must be compiled in:
// whoever builds a program imports the drivers that it has. The caller closes
// the store.
func Open(ctx context.Context, kind string, parameters map[string]any) (*Store, error) {
	driver, err := factory.Create(ctx, cmp.Or(own[kind], kind), parameters)
	if err != nil {
		return nil, fmt.Errorf("open storage driver %s: %w", kind, err)
	}
	s := &Store{driver: onlyGets{driver}, identity: identity(kind, parameters), verified: newVerified(), quarantine: &quarantine{}, notes: newNoteFiles()}
	if closer, ok := driver.(io.Closer); ok && kind != OpenedDriver {
		s.closer = closer
	}
	if r, ok := driver.(roomy); ok {
		s.room = r.Room
	}
	s.joint, _ = driver.(joint)
	s.timed, _ = driver.(timed)
	s.lister, _ = driver.(lister)
	s.fresh, _ = driver.(refresher)
	s.ower, _ = driver.(ower)
	s.settler, _ = driver.(settler)
	_, local := driver.(localFiles)
	s.content = driverContent{s.driver, local}
	return s, nil
}

// Close ends the use of the store: nobody may be in a call of it.
func (s *Store) Close() error {
	if s.closer == nil {
		return nil
	}
	return s.closer.Close()
}

// Check returns the error that [Open] would have for the parameters of a driver.
// It changes nothing, and asks nothing over the network.
func Check(ctx context.Context, kind string, parameters map[string]any) error {
	if own[kind] != "" {
		return nil // a folder is all that it wants, and to open it is to make it
	}
	if _, err := factory.Create(ctx, kind, parameters); err != nil {
		return fmt.Errorf("open storage driver %s: %w", kind, err)
	}
	return nil
}

// Driver is the opened driver. Whatever else uses the storage must use this
// one: a second in-memory driver would be another store, and a second driver
// of local files would not know what the first has made durable.
func (s *Store) Driver() storagedriver.StorageDriver { return s.driver }

// Identity names the place where the bytes are. An index that was made from
// another place is of no use. It holds no secrets.
func (s *Store) Identity() string { return s.identity }

// Ready returns an error if storage cannot be read.
func (s *Store) Ready(ctx context.Context) error {
	_, err := s.driver.Stat(ctx, "/")
	if err != nil && !notFound(err) {
		return fmt.Errorf("storage cannot be read: %w", err)
	}
	return nil
}

// identity is made of the parameters that say where data is. An in-memory
// store is another one each time.
func identity(kind string, parameters map[string]any) string {
	if kind == "inmemory" {
		return kind + ":" + rand.Text()
	}
	parts := []string{kind}
	for _, key := range []string{"rootdirectory", "regionendpoint", "region", "bucket"} {
		if v, ok := parameters[key]; ok {
			parts = append(parts, key+"="+fmt.Sprint(v))
		}
	}
	return strings.Join(parts, " ")
}

// isFile reports whether there is a file at path.
func (s *Store) isFile(ctx context.Context, path string) (bool, error) {
	info, err := s.driver.Stat(ctx, path)
	if notFound(err) {
		return false, nil
	}
	return err == nil && !info.IsDir(), err
}

func (s *Store) remove(ctx context.Context, path string) error {
	if err := s.driver.Delete(ctx, path); err != nil && !notFound(err) {
		return err
	}
	return nil
}

// list returns the names directly below path, none if there is no such folder.
func (s *Store) list(ctx context.Context, path string) ([]string, error) {
	paths, err := s.driver.List(ctx, path)
	if err != nil && !notFound(err) {
		// Not every driver has an error of its own for a file.
		info, asked := s.driver.Stat(ctx, path)
		if asked == nil && info.IsDir() || asked != nil && !notFound(asked) {
			return nil, translate(err)
		}
	}
	if err != nil {
		return nil, nil
	}
	names := make([]string, 0, len(paths))
	for _, p := range paths {
		name := p[strings.LastIndexByte(p, '/')+1:]
		if storagedriver.PathRegexp.MatchString("/" + name) { // or a foreign file, for which no driver can be asked
			names = append(names, name)
		}
	}
	return names, nil
}
