package server

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	patience = 3 * time.Second       // how long what finds no place waits for one
	again    = 20 * time.Millisecond // it looks for one
)

// listener lets in who gets a place at the door. Others wait in the lobby, and
// are refused in a moment.
type listener struct {
	net.Listener
	door   *door
	speaks bool // plain HTTP, so that a refusal can be said

	accepted chan accepted
	done     chan struct{}
	close    func() error
}

type accepted struct {
	c   net.Conn
	err error
}

func newListener(l net.Listener, d *door, encrypted bool) *listener {
	admitting := &listener{
		Listener: l, door: d, speaks: !encrypted,
		accepted: make(chan accepted), done: make(chan struct{}),
	}
	admitting.close = sync.OnceValue(func() error {
		close(admitting.done)
		return l.Close()
	})
	go admitting.run()
	return admitting
}

// Accept returns the next connection that has a place.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case a := <-l.accepted:
		return a.c, a.err
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close ends the listening, and the waiting.
func (l *listener) Close() error { return l.close() }

func (l *listener) run() {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			select {
			case l.accepted <- accepted{nil, err}: // net/http waits, or ends
			case <-l.done:
				return
			}
			continue
		}
		boundUnsent(raw)
		c, why := l.door.admit(raw)
		switch client := l.door.clientOf(raw); {
		case c != nil:
			l.deliver(c)
		case l.door.enterLobby(client):
			go l.wait(raw, client)
		default:
			l.door.shed(why)
			_ = raw.Close()
		}
	}
}

func (l *listener) deliver(c *conn) {
	select {
	case l.accepted <- accepted{c, nil}:
	case <-l.done:
		_ = c.Close()
	}
}

func (l *listener) wait(raw net.Conn, client netip.Prefix) {
	defer l.door.leaveLobby(client)
	tick := time.NewTicker(again)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; {
		select {
		case <-l.done:
			_ = raw.Close()
			return
		case <-tick.C:
		}
		c, why := l.door.admit(raw)
		if c != nil {
			l.deliver(c)
			return
		}
		if time.Now().After(end) {
			l.door.shed(why)
			l.refuse(raw, why)
			return
		}
	}
}

// refuse says why, and closes. What the client has sent is taken from it for a
// moment, or it would lose the answer.
func (l *listener) refuse(raw net.Conn, why reason) {
	defer raw.Close()
	if !l.speaks {
		return
	}
	_ = raw.SetDeadline(time.Now().Add(patience))
	text := why.message() + "\n"
	_, err := fmt.Fprintf(raw, "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: %s\r\nContent-Type: text/plain; charset=utf-8\r\n"+
		"X-Content-Type-Options: nosniff\r\nContent-Length: %d\r\n\r\n%s", why.retryAfter(), len(text), text)
	if half, ok := raw.(interface{ CloseWrite() error }); ok && err == nil && half.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, raw, 64<<10)
	}
}

// enterLobby reports whether a connection of a client may wait. One client gets
// no more than half of the lobby.
func (d *door) enterLobby(client netip.Prefix) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	size := d.limits.lobby()
	if d.waiting >= size || client.IsValid() && d.lobby[client] >= size/2 {
		return false
	}
	d.waiting++
	d.lobby[client]++
	return true
}

func (d *door) leaveLobby(client netip.Prefix) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting--
	if d.lobby[client]--; d.lobby[client] == 0 {
		delete(d.lobby, client)
	}
}
