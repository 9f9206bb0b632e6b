package test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// rawHostile is a berth that must answer bad input soon, in its protocol's own
// words, without growing, and go on as if nothing had been.
type rawHostile struct {
	*rawClient
	t *testing.T
	b *Berth
}

const (
	rawMaxGrowth = 64 << 20
	rawMaxAnswer = 5 * time.Second
)

// hostile runs fn against a berth of its own that has served a push already.
func hostile(t *testing.T, fn func(h *rawHostile)) {
	t.Helper()
	b := start(t, withArgs("--log-level", "warn"))
	h := &rawHostile{newRawClient(b.URL), t, b}
	h.http.Timeout = rawMaxAnswer
	h.goodPush("before")
	base := b.rss()
	b.resetPeak()
	fn(h)
	if grown := b.peak() - base; grown > rawMaxGrowth {
		t.Errorf("grew by %d MiB, want at most %d", grown>>20, rawMaxGrowth>>20)
	} else {
		t.Logf("grew by %d MiB", grown>>20)
	}
	h.goodPush("after")
}

// resetPeak starts the measurement that peak ends.
func (b *Berth) resetPeak() {
	b.t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", b.cmd.Process.Pid), []byte("5"), 0); err != nil {
		b.t.Skip("skipped: the peak of a process's memory cannot be measured here:", err)
	}
}

// peak is the most resident memory in bytes since resetPeak.
func (b *Berth) peak() int64 {
	b.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.cmd.Process.Pid))
	if err != nil {
		b.t.Fatalf("berth is gone: %v\n%s", err, b.log)
	}
	var kb int64
	for line := range strings.SplitSeq(string(status), "\n") {
		_, _ = fmt.Sscanf(line, "VmHWM: %d kB", &kb)
	}
	return kb << 10
}

func (h *rawHostile) goodPush(tag string) {
	h.t.Helper()
	digest, err := h.push("good/app", tag, newRawImage("k", tag))
	if err != nil {
		h.t.Fatalf("a good push: %v", err)
	}
	list, err := h.listed("?namespace=good", "")
	if err != nil || len(list["good/app@"+digest]) != 1 {
		h.t.Fatalf("after a good push the list is %v (%v)", list, err)
	}
}

// ask sends a request that must be answered at all, and soon.
func (h *rawHostile) ask(method, path string, body any, header ...string) *rawAnswer {
	h.t.Helper()
	a, err := h.do(method, path, body, header...)
	if err != nil {
		h.t.Fatalf("%s %.200s: %v", method, path, err)
	}
	return a
}

// refused wants an answer in the form of the API that was asked, with one of
// these statuses.
func (h *rawHostile) refused(a *rawAnswer, what string, statuses ...int) {
	h.t.Helper()
	ok := len(statuses) == 0 && a.status >= 400 && a.status < 500
	for _, s := range statuses {
		ok = ok || a.status == s
	}
	if !ok {
		h.t.Errorf("%.90s: status %d, want %v (%.300s)", what, a.status, statuses, a.body)
		return
	}
	var answer struct {
		Status, Message string
		Errors          []struct {
			Code, Message string
			Status        int
		}
	}
	if err := json.Unmarshal(a.body, &answer); err != nil || len(answer.Errors) == 0 {
		h.t.Errorf("%.200s: no errors in the answer %d %.300s", what, a.status, a.body)
		return
	}
	registry := answer.Errors[0].Code != "" && answer.Errors[0].Message != ""
	images := answer.Status == "error" && answer.Message != "" && answer.Errors[0].Status == a.status
	if !registry && !images {
		h.t.Errorf("%.200s: neither API answers like %.300s", what, a.body)
	}
	for _, inside := range []string{h.b.Data, "goroutine", ".go:"} {
		if strings.Contains(string(a.body), inside) {
			h.t.Errorf("%.200s: the answer shows the inside of the server: %.300s", what, a.body)
		}
	}
}

// wire sends bytes as they are and reads one answer. The client library would
// clean them up.
func (h *rawHostile) wire(request string) *rawAnswer {
	h.t.Helper()
	conn, err := net.Dial("tcp", h.b.Host)
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(rawMaxAnswer))
	if _, err := conn.Write([]byte(request)); err != nil {
		h.t.Fatal(err)
	}
	// What was promised and not sent does not come any more.
	_ = conn.(*net.TCPConn).CloseWrite()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		h.t.Fatalf("%.200q: %v", request, err)
	}
	defer response.Body.Close()
	a := &rawAnswer{status: response.StatusCode, header: response.Header, body: make([]byte, 1<<20)}
	n := 0
	for err == nil && n < len(a.body) {
		var m int
		m, err = response.Body.Read(a.body[n:])
		n += m
	}
	a.body = a.body[:n]
	return a
}

const rawNoDigest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

func TestHostileNames(t *testing.T) {
	hostile(t, func(h *rawHostile) {
		image := newRawImage("k", "names")
		longest := strings.Repeat("n/", 127) + "n" // 255
		longTag := strings.Repeat("T", 128)
		if digest, err := h.push(longest, longTag, image); err != nil {
			t.Errorf("a name of %d and a tag of %d characters: %v", len(longest), len(longTag), err)
		} else if list, err := h.listed("", `{"tag":"`+longest+":"+longTag+`"}`); err != nil || list[longest+"@"+digest] == nil {
			t.Errorf("the longest name is not found: %v (%v)", list, err)
		}
		for _, name := range []string{longest + "n", longest + "/n", strings.Repeat("n", 256), "Upper/app", "a..b/c", "-a/b", "a/b-", "ä/b", "a___b/c", "localhost:5000/app", "Example.com/app"} {
			h.refused(h.ask("POST", "/v2/"+name+"/blobs/uploads/", nil), "upload to "+name, 400)
			h.refused(h.ask("PUT", "/v2/"+name+"/manifests/v1", image.manifest, "Content-Type", rawOCIManifest), "manifest to "+name, 400)
			h.refused(h.ask("GET", "/v2/"+name+"/tags/list", nil), "tags of "+name, 400)
			h.refused(h.ask("GET", "/v1/images?namespace="+name, nil), "namespace "+name, 400)
		}
		for _, tag := range []string{longTag + "T", ".a", "-a", "a+b", "ä", "a b", strings.Repeat("T", 10000)} {
			tag = strings.ReplaceAll(tag, " ", "%20")
			h.refused(h.ask("PUT", "/v2/good/app/manifests/"+tag, image.manifest, "Content-Type", rawOCIManifest), "tag "+tag, 400, 404)
			h.refused(h.ask("GET", "/v2/good/app/manifests/"+tag, nil), "tag "+tag, 400, 404)
			h.refused(h.ask("GET", "/v1/images", `{"tag":"good/app:`+tag+`"}`), "lookup of tag "+tag, 400)
		}
	})
}

func TestHostileDigests(t *testing.T) {
	hostile(t, func(h *rawHostile) {
		zeros := strings.Repeat("0", 64)
		for _, d := range []string{
			"sha256:" + strings.Repeat("g", 64), "sha256:" + strings.Repeat("A", 64), "sha256:" + zeros[1:],
			"sha256:" + zeros + "0", "sha256:", "md5:" + zeros[:32], "sha512:" + zeros, "SHA256:" + zeros,
			"sha256:" + strings.Repeat("0", 10000), "sha256:..", ":" + zeros, "sha256+b64:" + zeros,
		} {
			for _, route := range []string{"GET /v2/good/app/manifests/", "PUT /v2/good/app/manifests/", "DELETE /v2/good/app/manifests/",
				"GET /v2/good/app/blobs/", "DELETE /v2/good/app/blobs/"} {
				method, path, _ := strings.Cut(route, " ")
				h.refused(h.ask(method, path+d, "{}", "Content-Type", rawOCIManifest), route+d, 400, 404)
			}
			location, err := h.upload("good/app")
			if err != nil {
				t.Fatal(err)
			}
			h.refused(h.ask("PUT", withDigest(location, d), "x"), "blob as "+d, 400)
			h.refused(h.ask("GET", "/v1/images", `{"digest":"good/app@`+d+`"}`), "lookup of "+d, 400)
			h.refused(h.ask("GET", "/v1/images?digest="+d, nil), "query of "+d, 400)
			// A mount of what cannot be starts an upload, or is refused.
			if a := h.ask("POST", "/v2/good/app/blobs/uploads/?from=good/app&mount="+d, nil); a.status != 202 {
				h.refused(a, "mount of "+d, 400)
			}
		}
		h.refused(h.ask("PUT", "/v2/good/app/manifests/"+rawNoDigest, newRawImage("k", "before").manifest, "Content-Type", rawOCIManifest), "a manifest under another digest", 400)
		if d, err := h.digestOf("good/app", rawNoDigest); d != "" || err != nil {
			t.Errorf("a manifest under another digest is stored as %s (%v)", d, err)
		}
	})
}

func TestHostileBlobLeavesNothingBehind(t *testing.T) {
	hostile(t, func(h *rawHostile) {
		content := []byte("not what its digest says")
		location, err := h.upload("bad/app")
		if err != nil {
			t.Fatal(err)
		}
		h.refused(h.ask("PUT", withDigest(location, rawNoDigest), content), "a blob under another digest", 400)
		for _, d := range []string{rawNoDigest, rawDigest(content)} {
			if a := h.ask("HEAD", "/v2/bad/app/blobs/"+d, nil); a.status != 404 {
				t.Errorf("%s is there: %d", d, a.status)
			}
		}
		_ = filepath.WalkDir(h.b.Data, func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() && (strings.Contains(path, "/bad/") || strings.Contains(path, rawDigest(content)[7:]) || strings.Contains(path, rawNoDigest[7:])) {
				t.Errorf("left behind: %s", strings.TrimPrefix(path, h.b.Data))
			}
			return nil
		})
	})
}
