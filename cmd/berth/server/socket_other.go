//go:build !linux

package server

import "net"

// boundUnsent is for systems that can bound what they hold of a connection that
// has not been sent.
func boundUnsent(net.Conn) {}
