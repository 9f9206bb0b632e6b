package test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// accountsWire is a request that is sent piece by piece, by hand: what a client
// library does with an early answer is its own affair.
type accountsWire struct {
	t       *testing.T
	conn    net.Conn
	chunked bool
	answers chan *rawAnswer
	failed  error // of the last send
}

// accountsWireTo sends the headers of a request; a length of -1 announces
// chunks.
func accountsWireTo(t *testing.T, b *Berth, who accountsTenant, method, target string, length int64, header ...string) *accountsWire {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", b.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	w := &accountsWire{t: t, conn: conn, chunked: length < 0, answers: make(chan *rawAnswer, 1)}
	lines := append([]string{
		method + " " + u.RequestURI() + " HTTP/1.1", "Host: " + b.Host, "Authorization: " + who.basic(),
		"Content-Type: application/octet-stream",
	}, header...)
	if w.chunked {
		lines = append(lines, "Transfer-Encoding: chunked")
	} else {
		lines = append(lines, fmt.Sprint("Content-Length: ", length))
	}
	if _, err := io.WriteString(conn, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	go func() {
		r, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
		if err != nil {
			w.answers <- &rawAnswer{body: []byte(err.Error())}
			return
		}
		body, _ := io.ReadAll(r.Body)
		w.answers <- &rawAnswer{r.StatusCode, r.Header, body}
	}()
	return w
}

// send sends a piece of the body. An error is kept: the answer says more.
func (w *accountsWire) send(piece []byte) bool {
	if w.failed == nil && w.chunked {
		_, w.failed = fmt.Fprintf(w.conn, "%x\r\n%s\r\n", len(piece), piece)
	} else if w.failed == nil {
		_, w.failed = w.conn.Write(piece)
	}
	return w.failed == nil
}

// end ends a body of chunks.
func (w *accountsWire) end() {
	if w.chunked && w.failed == nil {
		_, w.failed = io.WriteString(w.conn, "0\r\n\r\n")
	}
}

// answer waits for the answer.
func (w *accountsWire) answer(limit time.Duration) *rawAnswer {
	w.t.Helper()
	select {
	case a := <-w.answers:
		return a
	case <-time.After(limit):
		w.t.Errorf("no answer within %v", limit)
		return &rawAnswer{}
	}
}

// TestAccountsQuotaBeforeTheBody sends the headers of uploads that are too
// large, and nothing else: they are answered nevertheless.
func TestAccountsQuotaBeforeTheBody(t *testing.T) {
	t.Parallel()
	b := start(t)
	alice := accountsAdd(t, b, "alice", "--quota", "256KiB")
	c := alice.on(b)
	kept := accountsImage("wire", "kept", 1000)
	c.putImage(t, "alice/kept", "v1", kept)
	for _, test := range []struct {
		name, method string
		length       int64
		header       []string
	}{
		{"PUT", http.MethodPut, 1 << 40, nil},
		{"PUT of one byte too much", http.MethodPut, 256<<10 - accountsBytes(kept) + 1, nil},
		{"PUT that waits to be told", http.MethodPut, 1 << 30, []string{"Expect: 100-continue"}},
		{"POST of all at once", http.MethodPost, 1 << 30, nil},
		{"PATCH", http.MethodPatch, 1 << 30, nil},
		{"PATCH with a range", http.MethodPatch, 1 << 30, []string{"Content-Range: 0-1073741823"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			target := b.URL + "/v2/alice/app/blobs/uploads/?digest=" + helloDigest
			if test.method != http.MethodPost { // which opens none
				location, err := c.upload("alice/app")
				if err != nil {
					t.Fatal(err)
				}
				if target = location.String(); test.method == http.MethodPut {
					target = withDigest(location, helloDigest)
				}
			}
			wire := accountsWireTo(t, b, alice, test.method, target, test.length, test.header...)
			accountsExceeded(t, test.name, wire.answer(time.Minute), "256.0 KiB")
			accountsUsed(t, b, alice, accountsBytes(kept), 256<<10, 1)
			if left := accountsUploads(t, b); len(left) > 0 {
				t.Errorf("uploads are left: %v", left)
			}
			if test.method != http.MethodPost {
				accountsStatus(t, c, http.StatusNotFound, http.MethodGet, target, nil)
			}
		})
	}
	// The last byte fits.
	rest := make([]byte, 256<<10-accountsBytes(kept))
	if err := c.pushBlob("alice/app", rest); err != nil {
		t.Error(err)
	}
	accountsUsed(t, b, alice, accountsBytes(kept), 256<<10, 1) // no manifest refers to it
}

// TestAccountsQuotaWithoutLength sends bodies that declare no length and do not
// end: they are stopped where the quota ends.
func TestAccountsQuotaWithoutLength(t *testing.T) {
	t.Parallel()
	b := start(t)
	alice := accountsAdd(t, b, "alice", "--quota", "3MiB")
	c := alice.on(b)
	piece := make([]byte, 64<<10)
	for _, method := range []string{http.MethodPatch, http.MethodPut} {
		t.Run(method, func(t *testing.T) {
			location, err := c.upload("alice/app")
			if err != nil {
				t.Fatal(err)
			}
			target := location.String()
			if method == http.MethodPut {
				target = withDigest(location, helloDigest)
			}
			wire := accountsWireTo(t, b, alice, method, target, -1)
			var most int64
			sent := 0
			for ; sent < 64<<20 && len(wire.answers) == 0 && wire.send(piece); sent += len(piece) {
				if sent%(1<<20) == 0 {
					most = max(most, accountsOnDisk(t, b))
					f, _, err := accountsQuota(c)
					if err != nil || f.used > f.hard {
						t.Errorf("%+v, %v", f, err)
					}
				}
			}
			accountsExceeded(t, method, wire.answer(time.Minute), "3.0 MiB")
			if sent >= 64<<20 {
				t.Error("all of it was taken")
			}
			if most > 4<<20 {
				t.Errorf("%d bytes were stored", most)
			}
			accountsUsed(t, b, alice, 0, 3<<20, 0)
			if left := accountsUploads(t, b); len(left) > 0 {
				t.Errorf("uploads are left: %v", left)
			}
		})
	}
	t.Run("many chunks", func(t *testing.T) {
		location, err := c.upload("alice/app")
		if err != nil {
			t.Fatal(err)
		}
		chunk := make([]byte, 1<<20)
		next, base := location.String(), location
		for i := range 4 {
			a, err := c.do(http.MethodPatch, next, chunk, "Content-Type", "application/octet-stream",
				"Content-Range", fmt.Sprintf("%d-%d", i<<20, (i+1)<<20-1))
			if err != nil {
				t.Fatal(err)
			}
			if i == 3 {
				accountsExceeded(t, "the fourth chunk", a, "3.0 MiB")
				break
			}
			if a.status != http.StatusAccepted {
				t.Fatalf("chunk %d: %d %s", i, a.status, a.body)
			}
			if f, _, err := accountsQuota(c); err != nil || f.used != int64(i+1)<<20 {
				t.Errorf("after %d chunks %d bytes count (%v)", i+1, f.used, err)
			}
			if u, err := base.Parse(a.header.Get("Location")); err == nil {
				next = u.String()
			}
		}
		accountsUsed(t, b, alice, 0, 3<<20, 0)
		if left := accountsUploads(t, b); len(left) > 0 {
			t.Errorf("uploads are left: %v", left)
		}
	})
	t.Run("given up", func(t *testing.T) {
		// An upload that its client cancels, or that turns out to be another
		// blob than it said, counts no longer.
		location, err := c.upload("alice/app")
		if err != nil {
			t.Fatal(err)
		}
		a := accountsStatus(t, c, http.StatusAccepted, http.MethodPatch, location.String(), piece, "Content-Type", "application/octet-stream")
		if location, err = location.Parse(a.header.Get("Location")); err != nil {
			t.Fatal(err)
		}
		accountsStatus(t, c, http.StatusNoContent, http.MethodDelete, location.String(), nil)
		if location, err = c.upload("alice/app"); err != nil {
			t.Fatal(err)
		}
		accountsStatus(t, c, http.StatusBadRequest, http.MethodPut, withDigest(location, helloDigest), piece, "Content-Type", "application/octet-stream")
		accountsUsed(t, b, alice, 0, 3<<20, 0)
		if left := accountsUploads(t, b); len(left) > 0 {
			t.Errorf("uploads are left: %v", left)
		}
	})
}

// accountsOnDisk is how many bytes the storage folder holds.
func accountsOnDisk(t testing.TB, b *Berth) (bytes int64) {
	t.Helper()
	_ = filepath.WalkDir(filepath.Join(b.Data, "storage"), func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if info, err := d.Info(); err == nil {
				bytes += info.Size()
			}
		}
		return nil // what has gone away meanwhile counts nothing
	})
	return bytes
}
