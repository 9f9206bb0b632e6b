package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/berth-oci/berth/config"
	"github.com/berth-oci/berth/registry/access"
	"github.com/berth-oci/berth/storage"
)

// contents are the repositories of an account's namespace: those of the berth that
// runs, else those in storage, where nobody else changes them meanwhile.
type contents interface {
	// repositories returns their names, sorted.
	repositories(ctx context.Context) ([]string, error)
	// clear deletes every image and tag of one.
	clear(ctx context.Context, repository string) error
	close() error
}

// contentsOf opens what an account's namespace holds.
func contentsOf(ctx context.Context, c *config.Config, name string) (contents, error) {
	l := newLocal(c)
	var askErr error
	if l != nil {
		if _, askErr = l.repositories(ctx, name); askErr == nil {
			return &runningContents{local: l, config: c, name: name}, nil
		}
	}
	where, _ := concerned(c)
	if where == registryNone && neverStored(c) {
		return noContents{}, nil // and none is made of it
	}
	if where == registryRunning || where == registryOther {
		return nil, fmt.Errorf("a berth runs with the data folder %s, and cannot be asked what %s holds: %w", c.Data, name, errors.Join(askErr, errNotAsked(l)))
	}
	b, err := openQuietly(ctx, c)
	if err != nil {
		return nil, err
	}
	return &storedContents{berth: b, name: name}, nil
}

// neverStored reports whether there is not even a folder for images.
func neverStored(c *config.Config) bool {
	root, ok := c.Storage.Parameters["rootdirectory"]
	if c.Storage.Driver != "filesystem" || !ok {
		return c.Storage.Driver == "inmemory"
	}
	_, err := os.Stat(fmt.Sprint(root))
	return errors.Is(err, fs.ErrNotExist)
}

// noContents are those of a registry that has never stored anything.
type noContents struct{}

func (noContents) repositories(context.Context) ([]string, error) { return nil, nil }
func (noContents) clear(context.Context, string) error            { return nil }
func (noContents) close() error                                   { return nil }

func errNotAsked(l *local) error {
	if l == nil {
		return errors.New("its secret is not in the data folder, nor in this configuration")
	}
	return nil
}

// runningContents asks and tells the berth that runs.
type runningContents struct {
	*local
	config *config.Config
	name   string
	secret string // of the token that deletes; "" until it is made
}

func (r *runningContents) repositories(ctx context.Context) ([]string, error) {
	return r.local.repositories(ctx, r.name)
}

// removalTime is how long the token of a removal is good, should the removal die.
const removalTime = time.Hour

// clear needs a token that may write. It takes the place of those that the account
// has, so that nothing comes while its images go.
func (r *runningContents) clear(ctx context.Context, repository string) error {
	if r.secret == "" {
		token, secret := access.NewToken("removal")
		token.Created = time.Now().UTC().Truncate(time.Second)
		token.Expires = token.Created.Add(removalTime)
		err := access.EditFor(r.config.Accounts.File, r.config.Data, func(f *access.File) error {
			account, err := f.Account(r.name)
			if err == nil {
				account.Tokens = []access.Token{token}
			}
			return err
		})
		if err != nil {
			return err
		}
		r.secret = secret
	}
	return r.local.clear(ctx, r.name, r.secret, repository)
}

func (r *runningContents) close() error { return nil }

// storedContents are what no berth has open.
type storedContents struct {
	*berth
	name string
}

func (s *storedContents) repositories(ctx context.Context) (names []string, err error) {
	const most = 1000
	for last := ""; ; last = names[len(names)-1] {
		page, err := s.catalog.Repositories(ctx, []string{s.name}, last, most)
		names = append(names, page...)
		if err != nil || len(page) < most {
			return names, err
		}
	}
}

func (s *storedContents) clear(ctx context.Context, repository string) error {
	err := s.catalog.Clear(ctx, repository)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	return s.audit.Write(access.Event{Action: "delete", Client: "local", Repository: repository, Detail: "all of the repository"})
}

// purge deletes every repository, and those that come meanwhile. What could be
// deleted is returned also with an error.
func purge(ctx context.Context, held contents) (gone []string, err error) {
	const rounds = 5 // others may write to the namespace
	for range rounds {
		names, err := held.repositories(ctx)
		if err != nil || len(names) == 0 {
			return gone, err
		}
		for _, name := range names {
			if err := held.clear(ctx, name); err != nil {
				return gone, fmt.Errorf("%s: %w", name, err)
			}
			if !slices.Contains(gone, name) {
				gone = append(gone, name)
			}
		}
	}
	return gone, errors.New("others go on pushing to the namespace: berth account revoke takes that away from them")
}

// listed names some, and how many more there are.
func listed(names []string) string {
	const most = 20
	if more := len(names) - most; more > 0 {
		return fmt.Sprintf("%s, and %d more", strings.Join(names[:most], ", "), more)
	}
	return strings.Join(names, ", ")
}
