//go:build !linux

package bolt

import bbolt "go.etcd.io/bbolt"

func sparePages(*bbolt.Tx) {}
