package hostile

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/berth-oci/berth/test/harness"
)

// attacker is a connection of a hostile client.
type attacker struct {
	net.Conn
	ctx   context.Context
	s     *siege
	r     *bufio.Reader
	after func() bool
}

// dial connects from an address of this machine; nil if there is no connection
// to be had.
func (s *siege) dial(ctx context.Context, address byte) *attacker {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, address)}, Timeout: 10 * time.Second}
	c, err := dialer.DialContext(ctx, "tcp", s.b.Host)
	if err != nil {
		return nil
	}
	_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
	return &attacker{c, ctx, s, bufio.NewReaderSize(c, 4<<10), context.AfterFunc(ctx, func() { _ = c.Close() })}
}

func (a *attacker) close() {
	a.after()
	_ = a.Close()
}

// send writes a request with as much of a body as is given.
func (a *attacker) send(as *harness.Account, method, path string, length int64, body string, header ...string) bool {
	var head strings.Builder
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, a.s.b.Host)
	if as != nil {
		fmt.Fprintf(&head, "Authorization: %s\r\n", as.Basic())
	}
	for i := 0; i+1 < len(header); i += 2 {
		fmt.Fprintf(&head, "%s: %s\r\n", header[i], header[i+1])
	}
	if length > 0 {
		fmt.Fprintf(&head, "Content-Length: %d\r\n", length)
	}
	_, err := io.WriteString(a, head.String()+"\r\n"+body)
	return err == nil
}

// receive reads an answer and forgets it.
func (a *attacker) receive() (http.Header, bool) {
	answer, err := http.ReadResponse(a.r, nil)
	if err != nil {
		return nil, false
	}
	n, _ := a.s.statuses.LoadOrStore(answer.StatusCode, new(atomic.Int64))
	n.(*atomic.Int64).Add(1)
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.Header, err == nil
}

// ask sends a whole request and reads the answer.
func (a *attacker) ask(as *harness.Account, method, path, body string, header ...string) {
	if a.send(as, method, path, int64(len(body)), body, header...) {
		a.receive()
	}
}

// wait does nothing until berth has enough of it.
func (a *attacker) wait() { _, _ = io.Copy(io.Discard, a) }

// trickle sends a little, again and again, until berth has enough of it.
func (a *attacker) trickle(text string) {
	for a.ctx.Err() == nil {
		if _, err := io.WriteString(a, text); err != nil {
			return
		}
		time.Sleep(500 * time.Millisecond)
	}
}

const form = "application/x-www-form-urlencoded"

// kinds are the hostile clients that there are. Each act is one connection; a
// client pauses between two: longer where it makes berth compute, or a thousand
// of them would measure no more than how two processors are shared.
var kinds = []struct {
	name  string
	pause time.Duration
	act   func(s *siege, a *attacker, i int)
}{
	{"says nothing", 0, func(_ *siege, a *attacker, _ int) { a.wait() }},
	{"sends headers for ever", 0, func(s *siege, a *attacker, _ int) {
		_, _ = io.WriteString(a, "GET /v2/ HTTP/1.1\r\nHost: "+s.b.Host+"\r\n")
		a.trickle("X-A: b\r\n")
	}},
	{"stalls a login", 0, func(_ *siege, a *attacker, _ int) {
		a.send(nil, "POST", "/token", 60_000, "grant_type=", "Content-Type", form)
		a.wait()
	}},
	{"trickles a login", 0, func(_ *siege, a *attacker, _ int) {
		a.send(nil, "POST", "/token", 60_000, "", "Content-Type", form)
		a.trickle("a")
	}},
	{"stalls a manifest of 4 MiB", 100 * time.Millisecond, func(s *siege, a *attacker, _ int) {
		a.send(&s.mallory, "PUT", "/v2/mallory/app/manifests/x", 4<<20, spaces[:4<<20-1], "Content-Type", harness.OCIManifest)
		a.wait()
	}},
	{"stalls an upload", 0, func(s *siege, a *attacker, i int) {
		a.send(&s.eve, "POST", fmt.Sprintf("/v2/eve/app/blobs/uploads/?digest=sha256:%064x", i), 1<<30, "a")
		a.trickle("a")
	}},
	{"reads no list", 0, func(s *siege, a *attacker, _ int) {
		for range 50 {
			if !a.send(&s.eve, "GET", "/v1/images", 0, "") {
				return
			}
		}
		<-a.ctx.Done()
	}},
	{"reads a blob slowly", 0, func(s *siege, a *attacker, _ int) {
		a.send(&s.eve, "GET", "/v2/eve/app/blobs/"+s.blob, 0, "")
		for a.ctx.Err() == nil {
			if _, err := io.CopyN(io.Discard, a, 1<<10); err != nil {
				return
			}
			time.Sleep(500 * time.Millisecond)
		}
	}},
	{"filters large referrers", 3 * time.Second, func(s *siege, a *attacker, _ int) {
		a.ask(&s.eve, "GET", "/v2/eve/app/referrers/"+s.subject+"?artifactType=a/b", "")
	}},
	{"looks one image up under many spellings", 3 * time.Second, func(s *siege, a *attacker, _ int) {
		a.ask(&s.eve, "GET", "/v1/images", spellings(s.b.Host))
	}},
	{"asks for 990 tags and 200 items", 3 * time.Second, func(s *siege, a *attacker, _ int) {
		a.ask(&s.eve, "GET", "/v1/images?tag="+strings.Repeat("eve/app:v1,", 989)+"eve/app:v1", "["+strings.Repeat(`{"tag":"eve/app:v2"},`, 199)+`{"tag":"eve/app:v3"}]`)
	}},
	{"opens uploads", 200 * time.Millisecond, func(s *siege, a *attacker, _ int) {
		for range 5 {
			a.ask(&s.mallory, "POST", "/v2/mallory/app/blobs/uploads/", "")
		}
	}},
	{"has wrong credentials", 200 * time.Millisecond, func(s *siege, a *attacker, _ int) {
		wrong := s.mallory.Wrong()
		a.ask(&wrong, "GET", "/v2/", "")
	}},
	{"brings a token that is none", 200 * time.Millisecond, func(_ *siege, a *attacker, i int) {
		token := base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat(fmt.Sprint(i), 1000)))
		a.ask(nil, "GET", "/v1/images", "", "Authorization", "Bearer "+token+"."+token+"."+token)
	}},
	{"fills its quota", 2 * time.Second, func(s *siege, a *attacker, i int) {
		body := fmt.Sprint(time.Now().UnixNano(), i) + spaces[:1<<20]
		a.ask(&s.mallory, "POST", "/v2/mallory/app/blobs/uploads/?digest="+harness.Digest([]byte(body)), body, "Content-Type", "application/octet-stream")
	}},
	{"declares more than there is", 200 * time.Millisecond, func(s *siege, a *attacker, i int) {
		if a.send(&s.mallory, "POST", fmt.Sprintf("/v2/mallory/app/blobs/uploads/?digest=sha256:%064x", i), 1<<63-1, "a") {
			a.receive()
		}
	}},
	{"pushes manifests that are none", 3 * time.Second, func(s *siege, a *attacker, i int) {
		bad := []string{strings.Repeat("[", 1<<20), `{"schemaVersion":2,"layers":[` + strings.Repeat("{},", 100_000) + "{}]}", "\x00", strings.Repeat(`{"a":`, 20_000)}
		a.ask(&s.eve, "PUT", "/v2/eve/bad/manifests/x", bad[i/len(bad)%len(bad)], "Content-Type", harness.OCIManifest)
	}},
	{"asks for thousands of ranges", 3 * time.Second, func(s *siege, a *attacker, _ int) {
		a.ask(&s.eve, "GET", "/v2/eve/app/blobs/"+s.blob, "", "Range", "bytes="+strings.Repeat("0-0,", 5000)+"0-0")
	}},
	{"goes away in the middle", time.Second, func(s *siege, a *attacker, _ int) {
		a.send(&s.eve, "GET", "/v1/images", 0, "")
	}},
	{"speaks no HTTP", 100 * time.Millisecond, func(_ *siege, a *attacker, _ int) {
		_, _ = io.WriteString(a, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"+strings.Repeat("\xff", 4000)+"\r\n\r\n")
		a.receive()
	}},
}

var spaces = strings.Repeat(" ", 4<<20)

// spellings is a body of images that are all one.
func spellings(host string) string {
	var all []string
	for i := range 700 {
		name := strings.Repeat("/", i%3) + []string{"eve/app", host + "/eve/app", "http://" + host + "/eve/app", "oci://eve/app"}[i%4]
		all = append(all, fmt.Sprintf(`{"tag":"%s:v%d"}`, name, i%3))
	}
	return "[" + strings.Join(all, ",") + "]"
}
