package server

import (
	"net"

	"golang.org/x/sys/unix"
)

// unsent bounds how many bytes of a connection the system holds that have not
// been sent. Else it takes megabytes at once from a slow reader, and no write
// shows for minutes how far the reader has come. What is under way is not
// bounded by it, so it costs no speed.
const unsent = 128 << 10

func boundUnsent(c net.Conn) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	if raw, err := tcp.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsent)
		})
	}
}
