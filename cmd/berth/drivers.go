package main

import (
	// The storage drivers that berth has compiled in. They are named here alone:
	// no other package needs what they bring along.
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/s3-aws"

	_ "github.com/berth-oci/berth/storage/local"
)
