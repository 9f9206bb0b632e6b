// Package hostile sends what no client should.
package hostile

import (
	"bufio"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
)

// target is a berth that must answer bad input soon, in its protocol's own
// words, without growing, and go on as if nothing had been.
type target struct {
	*harness.Client
	t *testing.T
	b *harness.Berth

	slowest time.Duration // of the answers
}

const (
	maxGrowth = 64 << 20
	maxAnswer = 5 * time.Second
)

// against runs fn against a berth of its own that has served a push already.
func against(t *testing.T, fn func(h *target)) {
	t.Helper()
	harness.Grown(t, maxGrowth, func() int64 {
		b := harness.Start(t, harness.WithArgs("--log-level", "warn"))
		h := &target{Client: harness.NewClient(b.URL), t: t, b: b}
		h.HTTP.Timeout = maxAnswer
		h.goodPush("before")
		base := b.RSS()
		b.ResetPeak()
		fn(h)
		grown := b.Peak() - base
		t.Logf("the slowest answer took %v", h.slowest)
		h.goodPush("after")
		b.Stop()
		return grown
	})
}

func (h *target) goodPush(tag string) {
	h.t.Helper()
	digest, err := h.Push("good/app", tag, harness.NewImage("k", tag))
	if err != nil {
		h.t.Fatalf("a good push: %v", err)
	}
	list, err := h.Listed("?namespace=good", "")
	if err != nil || len(list["good/app@"+digest]) != 1 {
		h.t.Fatalf("after a good push the list is %v (%v)", list, err)
	}
}

// ask sends a request that must be answered at all, and soon.
func (h *target) ask(method, path string, body any, header ...string) *harness.Answer {
	h.t.Helper()
	begin := time.Now()
	a, err := h.Do(method, path, body, header...)
	h.slowest = max(h.slowest, time.Since(begin))
	if err != nil {
		h.t.Fatalf("%s %.200s: %v", method, path, err)
	}
	return a
}

// refused wants an answer in the form of the API that was asked, with one of
// these statuses.
func (h *target) refused(a *harness.Answer, what string, statuses ...int) {
	h.t.Helper()
	ok := len(statuses) == 0 && a.Status >= 400 && a.Status < 500
	for _, s := range statuses {
		ok = ok || a.Status == s
	}
	if !ok {
		h.t.Errorf("%.90s: status %d, want %v (%.300s)", what, a.Status, statuses, a.Body)
		return
	}
	var answer struct {
		Status, Message string
		Errors          []struct {
			Code, Message string
			Status        int
		}
	}
	if err := json.Unmarshal(a.Body, &answer); err != nil || len(answer.Errors) == 0 {
		h.t.Errorf("%.200s: no errors in the answer %d %.300s", what, a.Status, a.Body)
		return
	}
	registry := answer.Errors[0].Code != "" && answer.Errors[0].Message != ""
	images := answer.Status == "error" && answer.Message != "" && answer.Errors[0].Status == a.Status
	if !registry && !images {
		h.t.Errorf("%.200s: neither API answers like %.300s", what, a.Body)
	}
	for _, inside := range []string{h.b.Data, "goroutine", ".go:"} {
		if strings.Contains(string(a.Body), inside) {
			h.t.Errorf("%.200s: the answer shows the inside of the server: %.300s", what, a.Body)
		}
	}
}

// wire sends bytes as they are and reads one answer. The client library would
// clean them up.
func (h *target) wire(request string) *harness.Answer {
	h.t.Helper()
	conn, err := net.Dial("tcp", h.b.Host)
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(maxAnswer))
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
	a := &harness.Answer{Status: response.StatusCode, Header: response.Header, Body: make([]byte, 1<<20)}
	n := 0
	for err == nil && n < len(a.Body) {
		var m int
		m, err = response.Body.Read(a.Body[n:])
		n += m
	}
	a.Body = a.Body[:n]
	return a
}
