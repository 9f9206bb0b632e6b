package spec

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/test/harness"
)

// TestChunks sends chunks in and out of order.
func TestChunks(t *testing.T) {
	s := specified(t)
	const repository = "alice/chunks"
	content := []byte("0123456789abcdefghij")
	opened := s.ask(202, "POST", "/v2/"+repository+"/blobs/uploads/", nil)
	s.has(opened, "OCI-Chunk-Min-Length", "1")
	at := s.location(opened)
	chunk := func(status int, method string, from, to int, header ...string) *harness.Answer {
		t.Helper()
		target := at.String()
		if method == "PUT" {
			target = harness.WithDigest(at, harness.Digest(content))
		}
		return s.ask(status, method, target, content[from:to], append(header, "Content-Range", fmt.Sprintf("%d-%d", from, to-1))...)
	}
	// Nothing can come before the first byte.
	at = s.location(chunk(416, "PATCH", 5, 10))
	a := chunk(202, "PATCH", 0, 5)
	s.has(a, "Range", "0-4", "OCI-Chunk-Min-Length", "1")
	stale := at
	at = s.location(a)
	for _, method := range []string{"PATCH", "PUT"} {
		for _, wrong := range [][2]int{{10, 15}, {0, 5}, {4, 9}, {6, 7}} {
			a := chunk(416, method, wrong[0], wrong[1])
			s.has(a, "Range", "0-4")
			// Where it says is where it goes on.
			at = s.location(a)
		}
	}
	// The same for a body whose length is not known before: its range counts.
	for _, method := range []string{"PATCH", "PUT"} {
		target := at.String()
		if method == "PUT" {
			target = harness.WithDigest(at, harness.Digest(content))
		}
		a := s.refuse("RANGE_INVALID", 416, method, target, io.MultiReader(bytes.NewReader(content[10:15])), "Content-Range", "10-14")
		s.has(a, "Range", "0-4")
	}
	// An address that was answered before stands for as far as the upload was.
	a = s.refuse("RANGE_INVALID", 416, "PATCH", stale.String(), content[5:10])
	s.has(a, "Range", "0-4")
	s.has(chunk(416, "PATCH", 5, 5, "Content-Range", "9-5"), "Range", "0-4")
	for _, garbage := range []string{"bytes 5-9/20", "5-", "-9", "a-b", "5", "99999999999999999999-99999999999999999999"} {
		s.refuse("RANGE_INVALID", 416, "PATCH", at.String(), content[5:10], "Content-Range", garbage)
	}
	for _, method := range []string{"GET", "HEAD"} {
		a = s.ask(204, method, at.String(), nil)
		s.has(a, "Range", "0-4")
		at = s.location(a)
	}
	at = s.location(s.ask(202, "PATCH", at.String(), io.MultiReader(bytes.NewReader(content[5:10])), "Content-Range", "5-9"))
	s.has(chunk(201, "PUT", 10, 20), "Docker-Content-Digest", harness.Digest(content), "Location", "/v2/"+repository+"/blobs/"+harness.Digest(content))
	s.blobIs(repository, harness.Digest(content), content)
	s.refuse("BLOB_UPLOAD_UNKNOWN", 404, "GET", at.String(), nil)
	s.refuse("BLOB_UPLOAD_UNKNOWN", 404, "PATCH", at.String(), "x")
}

// TestUploadsAreNotThere has uploads that end without a blob: cancelled,
// refused, or of another digest.
func TestUploadsAreNotThere(t *testing.T) {
	s := specified(t)
	const repository = "alice/nothing"
	content := []byte("nothing of this stays")
	uploads := "/v2/" + repository + "/blobs/uploads/"
	at := s.location(s.ask(202, "PATCH", s.begin(repository).String(), content))
	s.ask(204, "DELETE", at.String(), nil)
	s.refuse("BLOB_UPLOAD_UNKNOWN", 404, "DELETE", at.String(), nil)
	s.refuse("BLOB_UPLOAD_UNKNOWN", 404, "PUT", harness.WithDigest(at, harness.Digest(content)), nil)

	for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		wrong := sum(algorithm, []byte("something else"))
		s.refuse("DIGEST_INVALID", 400, "PUT", harness.WithDigest(s.begin(repository), wrong), content)
		s.refuse("DIGEST_INVALID", 400, "POST", uploads+"?digest="+wrong, content)
		at := s.location(s.ask(202, "PATCH", s.begin(repository).String(), content))
		s.refuse("DIGEST_INVALID", 400, "PUT", harness.WithDigest(at, wrong), nil)
		s.ask(404, "HEAD", "/v2/"+repository+"/blobs/"+wrong, nil)
	}
	for _, digest := range []string{"garbage", "sha256:1", "", "md5:d41d8cd98f00b204e9800998ecf8427e"} {
		s.refuse("DIGEST_INVALID", 400, "POST", uploads+"?digest="+digest, content)
	}
	s.refuse("RANGE_INVALID", 416, "POST", uploads+"?digest="+harness.Digest(content), content, "Content-Range", "5-9")
	s.ask(404, "HEAD", "/v2/"+repository+"/blobs/"+harness.Digest(content), nil)
	s.holdsNothing(repository, content)
}

// holdsNothing wants neither a blob nor what is left of an upload.
func (s *client) holdsNothing(repository string, content []byte) {
	s.t.Helper()
	err := filepath.WalkDir(s.b.Data, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && (strings.Contains(path, repository+"/_uploads/") || strings.Contains(path, harness.Digest(content)[7:])) {
			s.t.Errorf("left behind: %s", strings.TrimPrefix(path, s.b.Data))
		}
		return err
	})
	if err != nil {
		s.t.Error(err)
	}
}

// TestUploadRace lets two clients write to one upload at once. Whatever is
// acknowledged must be what its digest says, and the other one is told.
func TestUploadRace(t *testing.T) {
	s := specified(t)
	const repository = "alice/race"
	size := 256 << 10
	for round := range 20 {
		at := s.begin(repository)
		contents := [][]byte{bytes.Repeat([]byte{'a', byte(round)}, size), bytes.Repeat([]byte{'b', byte(round)}, size)}
		var wg sync.WaitGroup
		answers := make([][2]*harness.Answer, 2)
		for i, content := range contents {
			wg.Go(func() {
				// In pieces, so that the two are under way together.
				body := io.MultiReader(bytes.NewReader(content[:1000]), &pause{10 * time.Millisecond}, bytes.NewReader(content[1000:]))
				var err error
				if answers[i][0], err = s.Do("PATCH", at.String(), body); err != nil {
					t.Error(err)
					return
				}
				next := at
				if answers[i][0].Status == http.StatusAccepted {
					next = s.location(answers[i][0])
				}
				if answers[i][1], err = s.Do("PUT", harness.WithDigest(next, harness.Digest(content)), nil); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if t.Failed() {
			return
		}
		taken := 0
		for i, content := range contents {
			if answers[i][0].Status == http.StatusAccepted {
				taken++
			} else if answers[i][0].Status != 416 && answers[i][0].Status != 404 {
				t.Errorf("the other chunk: %d %s", answers[i][0].Status, answers[i][0].Body)
			}
			a := s.mustDo("GET", "/v2/"+repository+"/blobs/"+harness.Digest(content))
			switch {
			case a.Status == http.StatusOK && !bytes.Equal(a.Body, content):
				t.Fatalf("round %d: a corrupt blob, of %d bytes", round, len(a.Body))
			case (a.Status == http.StatusOK) != (answers[i][1].Status == http.StatusCreated):
				t.Errorf("round %d: the blob is %d after %d", round, a.Status, answers[i][1].Status)
			}
		}
		if taken > 1 {
			t.Errorf("round %d: %d clients wrote the same bytes of one upload", round, taken)
		}
	}
}

// pause is a reader of nothing that takes its time.
type pause struct{ time time.Duration }

func (p *pause) Read([]byte) (int, error) {
	time.Sleep(p.time)
	return 0, io.EOF
}

func (s *client) mustDo(method, target string) *harness.Answer {
	s.t.Helper()
	a, err := s.Do(method, target, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

// TestUploadHeld has a slow client that holds an upload while others use
// the same upload, repository and blob.
func TestUploadHeld(t *testing.T) {
	s := specified(t)
	const repository = "alice/slow"
	content := bytes.Repeat([]byte("slow"), 10000)
	at := s.begin(repository)
	reader, writer := io.Pipe()
	type outcome struct {
		a   *harness.Answer
		err error
	}
	slow := make(chan outcome, 1)
	// It sends nothing before berth, which has the upload by then, asks for it.
	waits := harness.NewClient(s.b.URL)
	waits.HTTP.Transport = harness.Looking(&http.Transport{DisableCompression: true, ExpectContinueTimeout: time.Minute})
	go func() {
		a, err := waits.Do("PATCH", at.String(), reader, "Expect", "100-continue")
		slow <- outcome{a, err}
	}()
	if _, err := writer.Write(content[:1000]); err != nil {
		t.Fatal(err)
	}
	// It is busy, and how far it has come can be asked.
	s.refuse("RANGE_INVALID", 416, "PATCH", at.String(), nil)
	s.refuse("RANGE_INVALID", 416, "PUT", harness.WithDigest(at, harness.Digest(content)), content)
	s.refuse("RANGE_INVALID", 416, "DELETE", at.String(), nil)
	s.ask(204, "GET", at.String(), nil)
	// Nobody else waits for it.
	before := time.Now()
	if _, err := s.Push(repository, "v1", harness.NewImage("k", "slow")); err != nil {
		t.Fatal(err)
	}
	if err := s.PushBlob(repository, content); err != nil {
		t.Fatal(err)
	}
	s.ask(202, "DELETE", "/v2/"+repository+"/blobs/"+harness.Digest(content), nil)
	s.ask(202, "DELETE", "/v2/"+repository+"/manifests/v1", nil)
	if took := time.Since(before); took > 20*time.Second {
		t.Errorf("others took %v while a slow client held an upload", took)
	}
	if _, err := writer.Write(content[1000:]); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	done := <-slow
	if done.err != nil || done.a.Status != 202 {
		t.Fatalf("the slow chunk: %v %v", done.a, done.err)
	}
	s.ask(201, "PUT", harness.WithDigest(s.location(done.a), harness.Digest(content)), nil)
	s.blobIs(repository, harness.Digest(content), content)
}

// TestUploadPromises has clients that send less or more than they promised.
func TestUploadPromises(t *testing.T) {
	s := specified(t)
	const repository = "alice/promises"
	content := []byte("all that was promised")
	half := content[:len(content)/2]
	for _, method := range []string{"PATCH", "PUT", "POST"} {
		at := s.begin(repository)
		target := at.RequestURI()
		switch method {
		case "PUT":
			u, _ := url.Parse(harness.WithDigest(at, harness.Digest(content)))
			target = u.RequestURI()
		case "POST":
			target = "/v2/" + repository + "/blobs/uploads/?digest=" + harness.Digest(content)
		}
		// Less: the answer, where the client still reads it, says whose fault it is.
		a := s.cut(fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", method, target, s.b.Host, len(content), half))
		if a.Status != 400 {
			t.Errorf("%s of less than was promised: %d %s", method, a.Status, a.Body)
		}
		s.wellFormed(method, target, a)
		a = s.cut(fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n%s", method, target, s.b.Host, "abc"))
		if a.Status != 400 && a.Status != 416 { // the address is that of the state before
			t.Errorf("%s of chunks that break off: %d %s", method, a.Status, a.Body)
		}
		s.ask(404, "HEAD", "/v2/"+repository+"/blobs/"+harness.Digest(content), nil)
		if method == "POST" {
			s.ask(204, "DELETE", at.String(), nil)
			continue
		}
		// What did arrive is there, and the upload goes on.
		status := s.ask(204, "GET", at.String(), nil)
		var last int
		if _, err := fmt.Sscanf(status.Header.Get("Range"), "0-%d", &last); err != nil || last+1 < len(half) {
			t.Fatalf("Range is %q", status.Header.Get("Range"))
		}
		s.ask(204, "DELETE", s.location(status).String(), nil)
	}
	s.holdsNothing(repository, content)

	// More than the range says.
	at := s.begin(repository)
	s.refuse("SIZE_INVALID", 400, "PATCH", at.String(), content, "Content-Range", "0-4")
	s.has(s.ask(204, "GET", at.String(), nil), "Range", "0-0")
	s.refuse("SIZE_INVALID", 400, "PATCH", at.String(), content[:5], "Content-Range", "0-9")
	// More than the length says is another request, and no part of the blob.
	s.ask(201, "PUT", harness.WithDigest(at, harness.Digest(content)), content)
	s.blobIs(repository, harness.Digest(content), content)
}

// cut sends a request that ends too early, and reads the answer.
func (s *client) cut(request string) *harness.Answer {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.b.Host)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		s.t.Fatal(err)
	}
	_ = conn.(*net.TCPConn).CloseWrite()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		s.t.Fatalf("%.100q: %v", request, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return &harness.Answer{Status: response.StatusCode, Header: response.Header, Body: body}
}

// TestUploadAfterRestart goes on with an upload of a berth that was stopped,
// and of one that was killed while a chunk was on its way.
func TestUploadAfterRestart(t *testing.T) {
	s := specified(t)
	const repository = "alice/restart"
	content := bytes.Repeat([]byte("restart"), 20000)
	for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		d := sum(algorithm, content)
		at := s.location(s.ask(202, "PATCH", s.begin(repository).String(), content[:50000]))
		s.b.Stop()
		s.b.Restart()
		at = s.location(s.ask(202, "PATCH", at.String(), content[50000:60000], "Content-Range", "50000-59999"))

		reader, writer := io.Pipe()
		broken := make(chan error, 1)
		go func() {
			_, err := s.Do("PATCH", at.String(), reader)
			broken <- err
		}()
		if _, err := writer.Write(content[60000:100000]); err != nil {
			t.Fatal(err)
		}
		s.b.Kill()
		writer.Close()
		<-broken
		s.b.Restart()
		status := s.ask(204, "GET", at.String(), nil)
		var last int
		if _, err := fmt.Sscanf(status.Header.Get("Range"), "0-%d", &last); err != nil || last < 59999 || last > 99999 {
			t.Fatalf("after the crash the upload has %s", status.Header.Get("Range"))
		}
		s.ask(201, "PUT", harness.WithDigest(s.location(status), d), content[last+1:])
		s.blobIs(repository, d, content)
		s.ask(202, "DELETE", "/v2/"+repository+"/blobs/"+d, nil)
	}
}
