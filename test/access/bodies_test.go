package access

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
)

// wire is a request that is sent piece by piece, by hand: what a client
// library does with an early answer is its own affair.
type wire struct {
	t       *testing.T
	conn    net.Conn
	chunked bool
	answers chan *harness.Answer
	failed  error // of the last send
}

// wireTo sends the headers of a request; a length of -1 announces
// chunks.
func wireTo(t *testing.T, b *harness.Berth, who harness.Account, method, target string, length int64, header ...string) *wire {
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
	w := &wire{t: t, conn: conn, chunked: length < 0, answers: make(chan *harness.Answer, 1)}
	lines := append([]string{
		method + " " + u.RequestURI() + " HTTP/1.1", "Host: " + b.Host, "Authorization: " + who.Basic(),
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
			w.answers <- &harness.Answer{Body: []byte(err.Error())}
			return
		}
		body, _ := io.ReadAll(r.Body)
		w.answers <- &harness.Answer{Status: r.StatusCode, Header: r.Header, Body: body}
	}()
	return w
}

// send sends a piece of the body. An error is kept: the answer says more.
func (w *wire) send(piece []byte) bool {
	if w.failed == nil && w.chunked {
		_, w.failed = fmt.Fprintf(w.conn, "%x\r\n%s\r\n", len(piece), piece)
	} else if w.failed == nil {
		_, w.failed = w.conn.Write(piece)
	}
	return w.failed == nil
}

// end ends a body of chunks.
func (w *wire) end() {
	if w.chunked && w.failed == nil {
		_, w.failed = io.WriteString(w.conn, "0\r\n\r\n")
	}
}

// answer waits for the answer.
func (w *wire) answer(limit time.Duration) *harness.Answer {
	w.t.Helper()
	select {
	case a := <-w.answers:
		return a
	case <-time.After(limit):
		w.t.Errorf("no answer within %v", limit)
		return &harness.Answer{}
	}
}

// TestQuotaBeforeTheBody sends the headers of uploads that are too
// large, and nothing else: they are answered nevertheless.
func TestQuotaBeforeTheBody(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	alice := harness.AddAccount(t, b, "alice", "--quota", "256KiB")
	c := alice.On(b)
	kept := harness.NewSizedImage("wire", "kept", 1000)
	c.PutImage(t, "alice/kept", "v1", kept)
	used := counted(once("alice/kept", kept))
	for _, test := range []struct {
		name, method string
		length       int64
		header       []string
	}{
		{"PUT", http.MethodPut, 1 << 40, nil},
		{"PUT of one byte too much", http.MethodPut, 256<<10 - used + 1, nil},
		{"PUT that waits to be told", http.MethodPut, 1 << 30, []string{"Expect: 100-continue"}},
		{"POST of all at once", http.MethodPost, 1 << 30, nil},
		{"PUT of more than there is anywhere", http.MethodPut, math.MaxInt64, nil},
		{"POST of more than there is anywhere", http.MethodPost, math.MaxInt64, nil},
		{"PATCH of more than there is anywhere", http.MethodPatch, math.MaxInt64, nil},
		{"PATCH of a range without a length", http.MethodPatch, -1, []string{"Content-Range: 0-999999999999999998"}},
		{"PATCH", http.MethodPatch, 1 << 30, nil},
		{"PATCH with a range", http.MethodPatch, 1 << 30, []string{"Content-Range: 0-1073741823"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			target := b.URL + "/v2/alice/app/blobs/uploads/?digest=" + harness.HelloDigest
			if test.method != http.MethodPost { // which opens none
				location, err := c.Upload("alice/app")
				if err != nil {
					t.Fatal(err)
				}
				if target = location.String(); test.method == http.MethodPut {
					target = harness.WithDigest(location, harness.HelloDigest)
				}
			}
			wire := wireTo(t, b, alice, test.method, target, test.length, test.header...)
			wantExceeded(t, test.name, wire.answer(time.Minute), "256.0 KiB")
			wantUsed(t, b, alice, used, 256<<10, 1)
			if left := uploadsLeft(t, b); len(left) > 0 {
				t.Errorf("uploads are left: %v", left)
			}
			if test.method != http.MethodPost {
				wantStatus(t, c, http.StatusNotFound, http.MethodGet, target, nil)
			}
		})
	}
	// The last byte fits.
	rest := make([]byte, 256<<10-used)
	if err := c.PushBlob("alice/app", rest); err != nil {
		t.Error(err)
	}
	wantUsed(t, b, alice, 256<<10, 256<<10, 1, int64(len(rest))) // no manifest refers to it
}

// TestQuotaWithoutLength sends bodies that declare no length and do not
// end: they are stopped where the quota ends.
func TestQuotaWithoutLength(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	alice := harness.AddAccount(t, b, "alice", "--quota", "3MiB")
	c := alice.On(b)
	piece := make([]byte, 64<<10)
	for _, method := range []string{http.MethodPatch, http.MethodPut} {
		t.Run(method, func(t *testing.T) {
			location, err := c.Upload("alice/app")
			if err != nil {
				t.Fatal(err)
			}
			target := location.String()
			if method == http.MethodPut {
				target = harness.WithDigest(location, harness.HelloDigest)
			}
			wire := wireTo(t, b, alice, method, target, -1)
			var most int64
			sent := 0
			for ; sent < 64<<20 && len(wire.answers) == 0 && wire.send(piece); sent += len(piece) {
				if sent%(1<<20) == 0 {
					most = max(most, bytesOnDisk(t, b))
					f, _, err := askQuota(c)
					if err != nil || f.used > f.hard {
						t.Errorf("%+v, %v", f, err)
					}
				}
			}
			wantExceeded(t, method, wire.answer(time.Minute), "3.0 MiB")
			if sent >= 64<<20 {
				t.Error("all of it was taken")
			}
			if most > 4<<20 {
				t.Errorf("%d bytes were stored", most)
			}
			wantUsed(t, b, alice, 0, 3<<20, 0)
			if left := uploadsLeft(t, b); len(left) > 0 {
				t.Errorf("uploads are left: %v", left)
			}
		})
	}
	t.Run("many chunks", func(t *testing.T) {
		location, err := c.Upload("alice/app")
		if err != nil {
			t.Fatal(err)
		}
		chunk := make([]byte, 1<<20)
		next, base := location.String(), location
		for i := range 4 {
			a, err := c.Do(http.MethodPatch, next, chunk, "Content-Type", "application/octet-stream",
				"Content-Range", fmt.Sprintf("%d-%d", i<<20, (i+1)<<20-1))
			if err != nil {
				t.Fatal(err)
			}
			if i == 3 {
				wantExceeded(t, "the fourth chunk", a, "3.0 MiB")
				break
			}
			if a.Status != http.StatusAccepted {
				t.Fatalf("chunk %d: %d %s", i, a.Status, a.Body)
			}
			if f, _, err := askQuota(c); err != nil || f.used != int64(i+1)<<20 {
				t.Errorf("after %d chunks %d bytes count (%v)", i+1, f.used, err)
			}
			if u, err := base.Parse(a.Header.Get("Location")); err == nil {
				next = u.String()
			}
		}
		wantUsed(t, b, alice, 0, 3<<20, 0)
		if left := uploadsLeft(t, b); len(left) > 0 {
			t.Errorf("uploads are left: %v", left)
		}
	})
	t.Run("given up", func(t *testing.T) {
		// An upload that its client cancels, or that turns out to be another
		// blob than it said, counts no longer.
		location, err := c.Upload("alice/app")
		if err != nil {
			t.Fatal(err)
		}
		a := wantStatus(t, c, http.StatusAccepted, http.MethodPatch, location.String(), piece, "Content-Type", "application/octet-stream")
		if location, err = location.Parse(a.Header.Get("Location")); err != nil {
			t.Fatal(err)
		}
		wantStatus(t, c, http.StatusNoContent, http.MethodDelete, location.String(), nil)
		if location, err = c.Upload("alice/app"); err != nil {
			t.Fatal(err)
		}
		wantStatus(t, c, http.StatusBadRequest, http.MethodPut, harness.WithDigest(location, harness.HelloDigest), piece, "Content-Type", "application/octet-stream")
		wantUsed(t, b, alice, 0, 3<<20, 0)
		if left := uploadsLeft(t, b); len(left) > 0 {
			t.Errorf("uploads are left: %v", left)
		}
	})
}

// bytesOnDisk is how many bytes the storage folder holds, but for the journal, which
// has one size and is made once: each file once, also one of two names.
func bytesOnDisk(t testing.TB, b *harness.Berth) (bytes int64) {
	t.Helper()
	_ = filepath.WalkDir(filepath.Join(b.Data, "storage"), func(_ string, d os.DirEntry, err error) error {
		switch {
		case err != nil || strings.HasPrefix(d.Name(), ".berth-journal-"):
		case d.IsDir() && d.Name() == ".berth-staged":
			return filepath.SkipDir
		case !d.IsDir():
			if info, err := d.Info(); err == nil {
				bytes += info.Size()
			}
		}
		return nil // what has gone away meanwhile counts nothing
	})
	return bytes
}
