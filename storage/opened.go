package storage

import (
	"context"
	"errors"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/factory"
)

// OpenedDriver is the name under which distribution gets the driver that a
// [Store] has opened, instead of opening one of its own.
const OpenedDriver = "opened"

// OpenedParameters are the parameters that go with [OpenedDriver].
func (s *Store) OpenedParameters() map[string]any {
	return map[string]any{"driver": pushDriver{s.driver, s}}
}

func init() { factory.Register(OpenedDriver, openedFactory{}) }

type openedFactory struct{}

func (openedFactory) Create(_ context.Context, parameters map[string]any) (storagedriver.StorageDriver, error) {
	driver, ok := parameters["driver"].(storagedriver.StorageDriver)
	if !ok {
		return nil, errors.New("no opened driver given")
	}
	return driver, nil
}
