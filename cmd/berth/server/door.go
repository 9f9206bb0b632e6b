package server

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// settle is how long a connection or a request must keep berth waiting before
// it may lose its place to another.
const settle = time.Second

// mayLose is how long what a client with so many places has must keep berth
// waiting before it loses one to a client with others. A client that has many
// more than the other loses at once: else whoever comes again fast enough would
// leave no place to anybody else.
func mayLose(has, others int) time.Duration {
	if has > 2*(others+1) {
		return 1
	}
	return settle
}

// few reports whether a client with so many places has far fewer than the one
// that has most. What it keeps waiting makes room last of all, and never for who
// has as many: a crowd does not drive out who asks for little.
func few(has, most int) bool { return 4*has <= most }

// busiest is how many places the client has that has most.
func busiest(byClient map[netip.Prefix]int) (most int) {
	for _, n := range byClient {
		most = max(most, n)
	}
	return most
}

// door counts the connections of an address. Where there are too many, one that
// keeps berth waiting makes room: the one idle for longest, else the one that
// is furthest behind.
type door struct {
	limits  Limits
	trusted Networks
	shed    func(reason)

	mu       sync.Mutex
	conns    map[*conn]struct{}   // guarded by mu, like what follows
	byClient map[netip.Prefix]int // zero is for those that are not counted
	lobby    map[netip.Prefix]int // that wait for a place
	waiting  int                  // in the lobby
	closing  bool
}

func newDoor(limits Limits, trusted Networks, shed func(reason)) *door {
	return &door{
		limits: limits, trusted: trusted, shed: shed, conns: map[*conn]struct{}{},
		byClient: map[netip.Prefix]int{}, lobby: map[netip.Prefix]int{},
	}
}

// conn is a connection that has a place.
type conn struct {
	net.Conn
	door   *door
	client netip.Prefix

	state    http.ConnState         // guarded by door.mu, like what follows
	since    time.Time              // of the state
	requests map[*exchange]struct{} // in flight
}

// clientOf is who is counted: zero for a trusted proxy, and for what has no IP
// address.
func (d *door) clientOf(c net.Conn) netip.Prefix {
	peer, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil || d.trusted.contains(peer.Addr()) {
		return netip.Prefix{}
	}
	return networkOf(peer)
}

// networkOf is whom an address belongs to, as far as that can be told.
func networkOf(peer netip.AddrPort) netip.Prefix {
	ip := peer.Addr().Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64 // one client has as many addresses in it as it likes
	}
	p, _ := ip.Prefix(bits)
	return p
}

// admit gives a connection a place, if there is one or can be made one; else it
// returns why not.
func (d *door) admit(raw net.Conn) (c *conn, why reason) {
	client := d.clientOf(raw)
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if client.IsValid() && d.byClient[client] >= d.limits.PerClient && !d.makeRoom(now, client, true) {
		return nil, tooManyOfClient
	}
	if len(d.conns) >= d.limits.Connections && !d.makeRoom(now, client, false) {
		return nil, tooManyConnections
	}
	c = &conn{Conn: raw, door: d, client: client, since: now, requests: map[*exchange]struct{}{}}
	d.conns[c] = struct{}{}
	d.byClient[client]++
	return c, ""
}

// makeRoom ends a connection that keeps berth waiting, in favour of one of a
// client; if only is set, one of the same client.
func (d *door) makeRoom(now time.Time, client netip.Prefix, only bool) bool {
	var worst *conn
	var worstFew, worstIdle bool
	var longest time.Duration
	most := busiest(d.byClient)
	for c := range d.conns {
		if only && c.client != client {
			continue
		}
		need := settle
		if c.client.IsValid() && c.client != client {
			need = mayLose(d.byClient[c.client], d.byClient[client])
		}
		idle := c.state == http.StateIdle && len(c.requests) == 0
		behind, spared := c.behind(now), !only && few(d.byClient[c.client], most)
		switch {
		case behind < need, spared && d.byClient[client] >= d.byClient[c.client]:
			continue
		case worst == nil:
		case spared != worstFew:
			if spared {
				continue
			}
		case idle != worstIdle:
			if !idle {
				continue
			}
		case behind <= longest:
			continue
		}
		worst, worstFew, worstIdle, longest = c, spared, idle, behind
	}
	if worst == nil {
		return false
	}
	d.leave(worst)
	if !worstIdle {
		d.shed(tooFarBehind)
	}
	go worst.Conn.Close() // of TLS it may take a while
	return true
}

// behind is how long the connection has kept berth waiting, all its requests
// that is.
func (c *conn) behind(now time.Time) time.Duration {
	if len(c.requests) == 0 {
		return now.Sub(c.since)
	}
	least := time.Duration(1<<63 - 1)
	for x := range c.requests {
		least = min(least, x.behind(now))
	}
	return least
}

// leave gives a place back. The caller holds d.mu.
func (d *door) leave(c *conn) {
	if _, ok := d.conns[c]; !ok {
		return
	}
	delete(d.conns, c)
	if d.byClient[c.client]--; d.byClient[c.client] == 0 {
		delete(d.byClient, c.client)
	}
}

// Close closes the connection and gives its place back.
func (c *conn) Close() error {
	c.door.mu.Lock()
	c.door.leave(c)
	c.door.mu.Unlock()
	return c.Conn.Close()
}

// ReadFrom lets the system copy a file to the connection.
func (c *conn) ReadFrom(r io.Reader) (int64, error) {
	if direct, ok := c.Conn.(io.ReaderFrom); ok {
		return direct.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{c.Conn}, r)
}

// CloseWrite lets net/http end an answer before it has read all of the body.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// note is told of the states of connections.
func (d *door) note(c net.Conn, state http.ConnState) {
	if state == http.StateIdle {
		_ = c.SetWriteDeadline(time.Time{}) // that of the last answer
	}
	if encrypted, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = encrypted.NetConn()
	}
	placed, ok := c.(*conn)
	if !ok {
		return
	}
	d.mu.Lock()
	placed.state, placed.since = state, time.Now()
	end := d.closing && state == http.StateNew
	d.mu.Unlock()
	if end {
		_ = placed.Close()
	}
}

// closeSilent closes the connections on which no request has come yet, and will
// close those that come. Clients keep such ones in reserve, and a shutdown would
// wait for each of them.
func (d *door) closeSilent() {
	d.mu.Lock()
	d.closing = true
	var silent []*conn
	for c := range d.conns {
		if c.state == http.StateNew {
			silent = append(silent, c)
		}
	}
	d.mu.Unlock()
	for _, c := range silent {
		_ = c.Close()
	}
}

type connKey struct{}

// context lets a request know its connection.
func (d *door) context(ctx context.Context, c net.Conn) context.Context {
	if encrypted, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = encrypted.NetConn()
	}
	return context.WithValue(ctx, connKey{}, c)
}

// began tells the request's connection of it. The function it returns is to be
// called at its end.
func (x *exchange) began(ctx context.Context) (ended func()) {
	c, ok := ctx.Value(connKey{}).(*conn)
	if !ok {
		return func() {}
	}
	c.door.mu.Lock()
	c.requests[x] = struct{}{}
	c.door.mu.Unlock()
	return func() {
		c.door.mu.Lock()
		delete(c.requests, x)
		c.since = time.Now()
		c.door.mu.Unlock()
	}
}

// behind is how long the request has kept berth waiting: not at all while berth
// does something else.
func (x *exchange) behind(now time.Time) time.Duration {
	return max(x.in.behind(now), x.out.behind(now))
}

// count is how many connections there are.
func (d *door) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.conns)
}
