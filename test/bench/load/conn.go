// Package load asks servers over HTTP as fast as they answer: one client for
// all of them.
//
// The client shares the machine with the server that it measures, so it costs
// as little as it can: a request is written as it is, over a connection of its
// own, without a goroutine or a copy in between, and the body of an answer is
// read into one buffer and forgotten.
package load

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// patience is how long a server may take for anything.
const patience = 2 * time.Minute

// Target is where a server is, and how it is asked.
type Target struct {
	Address string // host:port
	// TLS is for https; nil means http.
	TLS *tls.Config
	// Authorization is sent with every request, if it is not empty.
	Authorization string
}

// Conn is a connection to a server. It serves one request at a time.
type Conn struct {
	target Target
	conn   net.Conn
	in     *bufio.Reader
	out    []byte
	buffer []byte
}

// Dial connects to a server.
func Dial(t Target) (*Conn, error) {
	conn, err := net.DialTimeout("tcp", t.Address, patience)
	if err != nil {
		return nil, err
	}
	if t.TLS != nil {
		secure := tls.Client(conn, t.TLS)
		if err := secure.Handshake(); err != nil {
			_ = conn.Close()
			return nil, err
		}
		conn = secure
	}
	return &Conn{target: t, conn: conn, in: bufio.NewReaderSize(conn, 16<<10), buffer: make([]byte, 128<<10)}, nil
}

// Close ends the connection.
func (c *Conn) Close() error { return c.conn.Close() }

// Request is a request: header is name, value, name, value.
type Request struct {
	Method, Path string
	Header       []string
	Body         Blob
	// Keep is for an answer whose body is looked at.
	Keep bool
}

// Answer is what a server has answered.
type Answer struct {
	Status int
	Header http.Header
	Bytes  int64  // of the body
	Body   []byte // if it was to be kept
}

// Do sends a request and reads the answer to its end.
func (c *Conn) Do(r Request) (Answer, error) {
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return Answer{}, err
	}
	if err := c.send(r); err != nil {
		return Answer{}, fmt.Errorf("%s %s: %w", r.Method, r.Path, err)
	}
	response, err := http.ReadResponse(c.in, &http.Request{Method: r.Method})
	if err != nil {
		return Answer{}, fmt.Errorf("%s %s: %w", r.Method, r.Path, err)
	}
	a := Answer{Status: response.StatusCode, Header: response.Header}
	if r.Keep || a.Status >= http.StatusBadRequest {
		a.Body, err = io.ReadAll(response.Body)
		a.Bytes = int64(len(a.Body))
	} else {
		a.Bytes, err = c.discard(response.Body)
	}
	if err != nil {
		return a, fmt.Errorf("%s %s: the answer ends early: %w", r.Method, r.Path, err)
	}
	return a, nil
}

// Want is Do, with an error for any other status.
func (c *Conn) Want(status int, r Request) (Answer, error) {
	a, err := c.Do(r)
	if err == nil && a.Status != status {
		err = fmt.Errorf("%s %s: answered with %d: %.300s", r.Method, r.Path, a.Status, a.Body)
	}
	return a, err
}

// send writes a request. What is in memory of the body goes with the header.
func (c *Conn) send(r Request) error {
	out := append(c.out[:0], r.Method...)
	out = append(append(append(out, ' '), r.Path...), " HTTP/1.1\r\nHost: "...)
	out = append(append(out, c.target.Address...), "\r\n"...)
	if c.target.Authorization != "" {
		out = append(append(append(out, "Authorization: "...), c.target.Authorization...), "\r\n"...)
	}
	for i := 0; i+1 < len(r.Header); i += 2 {
		out = append(append(append(append(out, r.Header[i]...), ": "...), r.Header[i+1]...), "\r\n"...)
	}
	if r.Body.Size > 0 || r.Method == http.MethodPost || r.Method == http.MethodPut {
		out = strconv.AppendInt(append(out, "Content-Length: "...), r.Body.Size, 10)
		out = append(out, "\r\n"...)
	}
	out = append(append(out, "\r\n"...), r.Body.head...)
	c.out = out
	if _, err := c.conn.Write(out); err != nil {
		return err
	}
	_, err := Blob{rest: r.Body.rest}.WriteTo(bodyWriter{c.conn})
	return err
}

// bodyWriter writes nothing for nothing: over TLS that would be a record.
type bodyWriter struct{ io.Writer }

// Write implements io.Writer.
func (b bodyWriter) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return b.Writer.Write(p)
}

func (c *Conn) discard(body io.Reader) (total int64, err error) {
	for err == nil {
		var n int
		n, err = body.Read(c.buffer)
		total += int64(n)
	}
	if err == io.EOF {
		err = nil
	}
	return total, err
}

// path is the path and query of where an answer says to go on, with a digest
// added.
func (a Answer) path(digest string) (string, error) {
	location, err := url.Parse(a.Header.Get("Location"))
	if err != nil {
		return "", err
	}
	query := location.Query()
	query.Set("digest", digest)
	location.RawQuery = query.Encode()
	return location.RequestURI(), nil
}
