package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/berth-oci/berth/registry/budget"
)

// manyTags is a catalog of one repository.
type manyTags struct {
	Catalog
	tags []string
}

func (m manyTags) TagNames(_ context.Context, _, after string, n int) ([]string, error) {
	i, found := slices.BinarySearch(m.tags, after)
	if found {
		i++
	}
	return m.tags[i:min(i+n, len(m.tags))], nil
}

// measured looks at how much memory is held while something is written.
type measured struct {
	*httptest.ResponseRecorder
	memory *budget.Memory
	least  int64
}

func (w *measured) Write(p []byte) (int, error) {
	w.least = min(w.least, w.memory.Used())
	return w.ResponseRecorder.Write(p)
}

// TestListMemory lists as many tags as an answer has: they have room in memory as
// long as the client takes them, and a list that finds none is refused.
func TestListMemory(t *testing.T) {
	all := manyTags{}
	for i := range maxTags {
		all.tags = append(all.tags, fmt.Sprintf("%05d%s", i, strings.Repeat("x", 123)))
	}
	r := &Registry{catalog: all, memory: budget.New(budget.Options{Limit: 64 << 20}), requestID: func(context.Context) string { return "" }}
	a := &request{route: route{kind: kindTags, name: "alice/app"}, clientName: "alice/app"}
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		w := &measured{httptest.NewRecorder(), r.memory, 1 << 40}
		r.listTags(w, httptest.NewRequest(method, "/v2/alice/app/tags/list", nil), a)
		if w.Code != http.StatusOK || method == http.MethodHead && w.Body.Len() > 0 {
			t.Fatalf("%s: %d with %d bytes", method, w.Code, w.Body.Len())
		}
		if method == http.MethodHead {
			continue
		}
		var got struct {
			Name string
			Tags []string
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Name != "alice/app" || !slices.Equal(got.Tags, all.tags) {
			t.Errorf("%d tags of %q, %v", len(got.Tags), got.Name, err)
		}
		if want := fmt.Sprint(w.Body.Len()); w.Header().Get("Content-Length") != want {
			t.Errorf("Content-Length is %s, want %s", w.Header().Get("Content-Length"), want)
		}
		if w.least < int64(w.Body.Len()) {
			t.Errorf("%d bytes were held while %d were written", w.least, w.Body.Len())
		}
	}
	if used := r.memory.Used(); used != 0 {
		t.Errorf("%d bytes are held after the end", used)
	}
	synctest.Test(t, func(t *testing.T) { // it waits for room
		r.memory = budget.New(budget.Options{Limit: 4 << 20, PerAccount: 1 << 20})
		w := httptest.NewRecorder()
		request := httptest.NewRequest(http.MethodGet, "/v2/alice/app/tags/list", nil)
		r.listTags(w, request.WithContext(budget.For(request.Context(), "alice")), a)
		if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
			t.Errorf("without room: %d %v %.100s", w.Code, w.Header(), w.Body)
		}
	})
}
