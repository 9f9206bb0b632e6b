package images

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

// fake is a catalog in memory.
type fake struct {
	index.Feed
	entries []index.Entry
	// children are found by digest, and not listed.
	children []index.Entry
	// err, if set, is returned by every call from the failAfter-th on.
	err              error
	calls, failAfter int
}

func (f *fake) call(ctx context.Context) error {
	f.calls++
	if f.err != nil && f.calls > f.failAfter {
		return f.err
	}
	return ctx.Err()
}

func (f *fake) find(ctx context.Context, in []index.Entry, is func(index.Entry) bool) (index.Entry, error) {
	if err := f.call(ctx); err != nil {
		return index.Entry{}, err
	}
	if i := slices.IndexFunc(in, is); i >= 0 {
		return in[i], nil
	}
	return index.Entry{}, index.ErrNotFound
}

func (f *fake) Entry(ctx context.Context, repository string, dgst digest.Digest) (index.Entry, error) {
	return f.find(ctx, slices.Concat(f.entries, f.children), func(e index.Entry) bool {
		return e.Repository == repository && e.Digest == dgst
	})
}

func (f *fake) Resolve(ctx context.Context, repository, tag string) (digest.Digest, error) {
	e, err := f.find(ctx, f.entries, func(e index.Entry) bool {
		return e.Repository == repository && slices.Contains(e.Tags, tag)
	})
	return e.Digest, err
}

func (f *fake) Tagged(ctx context.Context, repository, tag string) (index.Entry, error) {
	return f.find(ctx, f.entries, func(e index.Entry) bool {
		return e.Repository == repository && slices.Contains(e.Tags, tag)
	})
}

func (f *fake) ByUUID(ctx context.Context, id uuid.UUID, within []string) (index.Entry, error) {
	return f.find(ctx, f.entries, func(e index.Entry) bool { return e.UUID() == id && index.Within(within, e.Repository) })
}

func (f *fake) ByDigest(ctx context.Context, dgst digest.Digest, within []string, after string, n int) ([]index.Entry, error) {
	if err := f.call(ctx); err != nil {
		return nil, err
	}
	found := slices.Concat(f.entries, f.children)
	found = slices.DeleteFunc(found, func(e index.Entry) bool {
		return e.Digest != dgst || e.Repository <= after
	})
	slices.SortFunc(found, func(a, b index.Entry) int { return cmp.Compare(a.Repository, b.Repository) })
	return found[:min(n, len(found))], nil
}

func (f *fake) List(ctx context.Context, q index.Query, after index.Cursor, n int) ([]index.Entry, index.Cursor, error) {
	if err := f.call(ctx); err != nil {
		return nil, "", err
	}
	byTime := func(at time.Time, id uuid.UUID, bt time.Time, bid uuid.UUID) int {
		c := cmp.Or(at.Compare(bt), cmp.Compare(id.String(), bid.String()))
		if q.Descending {
			c = -c
		}
		return c
	}
	list := slices.Clone(f.entries)
	list = slices.DeleteFunc(list, func(e index.Entry) bool {
		in := q.Within == nil || slices.ContainsFunc(q.Within, func(ns string) bool {
			return e.Repository == ns || strings.HasPrefix(e.Repository, ns+"/")
		})
		before := q.From != nil && byTime(e.Image.Created, e.UUID(), q.From.Time, q.From.UUID) < 0
		return !in || before || q.Tagged && len(e.Tags) == 0
	})
	slices.SortFunc(list, func(a, b index.Entry) int {
		if q.ByTime {
			return byTime(a.Image.Created, a.UUID(), b.Image.Created, b.UUID())
		}
		return cmp.Or(cmp.Compare(a.Name(), b.Name()), b.Image.Created.Compare(a.Image.Created))
	})
	if after == "" {
		// An empty batch before the end is possible.
		return nil, "0", nil
	}
	start, err := strconv.Atoi(string(after))
	if err != nil {
		return nil, "", err
	}
	end := min(start+n, len(list))
	if end == len(list) {
		return list[start:], "", nil
	}
	return list[start:end], index.Cursor(strconv.Itoa(end)), nil
}

func (f *fake) Repositories(ctx context.Context, within []string, after string, n int) ([]string, error) {
	if err := f.call(ctx); err != nil {
		return nil, err
	}
	var names []string
	for _, e := range f.entries {
		if e.Repository > after && index.Within(within, e.Repository) {
			names = append(names, e.Repository)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	return names[:min(n, len(names))], nil
}

func (f *fake) TagNames(ctx context.Context, repository, after string, n int) ([]string, error) {
	if err := f.call(ctx); err != nil {
		return nil, err
	}
	var names []string
	for _, e := range f.entries {
		for _, tag := range e.Tags {
			if e.Repository == repository && tag > after {
				names = append(names, tag)
			}
		}
	}
	slices.Sort(names)
	return names[:min(n, len(names))], nil
}

// TagTime is called several times at once.
func (f *fake) TagTime(_ context.Context, repository, tag string) (time.Time, error) {
	if f.err != nil {
		return time.Time{}, f.err
	}
	for _, e := range f.entries {
		if e.Repository == repository && slices.Contains(e.Tags, tag) {
			return e.Image.Created.Add(time.Minute), nil
		}
	}
	return time.Time{}, index.ErrNotFound
}

// newImage is an entry that differs from others by name, seed and hour.
func newImage(repository string, hour int, tags ...string) index.Entry {
	dgst := digest.FromString(repository + strconv.Itoa(hour))
	return index.Entry{
		Repository: repository, Digest: dgst, Tags: tags,
		Image: image.Image{
			Created: time.Date(2026, 1, 31, hour, 0, 0, 0, time.UTC), Size: 1000 + int64(hour), Kernel: true,
			Platforms: []image.Platform{{Digest: dgst, OS: "kraftcloud", Architecture: "x86_64", Size: 1000 + int64(hour), ROMs: []image.Part{}}},
		},
	}
}

// serve starts a server with a catalog of entries.
func serve(t testing.TB, c Catalog, opts Options) *httptest.Server {
	t.Helper()
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	server := httptest.NewServer(New(c, opts))
	t.Cleanup(server.Close)
	return server
}

// answer is an envelope.
type answer struct {
	code    int
	header  http.Header
	raw     string
	Status  string `json:"status"`
	Message string `json:"message"`
	Errors  []struct {
		Status int `json:"status"`
	} `json:"errors"`
	Data *struct {
		Images []map[string]any `json:"images"`
	} `json:"data"`
	OpTime *int64 `json:"op_time_us"`
}

// names are the digests (v1) or URLs of the images, or what is missing.
func (a answer) names() []string {
	names := []string{}
	if a.Data == nil {
		return names
	}
	for _, image := range a.Data.Images {
		name := "?"
		if image["status"] == "error" {
			name = "missing"
		}
		for _, key := range []string{"url", "digest", "tag", "uuid"} {
			if value, ok := image[key].(string); ok {
				if name == "missing" {
					name += " " + value
				} else {
					name, _, _ = strings.Cut(value, "@sha256:")
				}
				break
			}
		}
		names = append(names, name)
	}
	return names
}

func get(t testing.TB, url, body string) answer { return do(t, http.MethodGet, url, body) }

func do(t testing.TB, method, url, body string) answer {
	t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequest(method, url, reader)
	if err != nil {
		t.Fatal(err)
	}
	return ask(t, req)
}

func ask(t testing.TB, req *http.Request) answer {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{code: resp.StatusCode, header: resp.Header, raw: string(raw)}
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &a); err != nil {
			t.Fatalf("%s %s: not JSON: %v\n%s", req.Method, req.URL, err, raw)
		}
	}
	return a
}

// wantFailure checks the envelope of a failure without entries.
func wantFailure(t testing.TB, a answer, code int, message string) {
	t.Helper()
	if a.code != code || a.Status != "error" || a.Data != nil || len(a.Errors) != 1 || a.Errors[0].Status != code {
		t.Errorf("got %d %s, want an error with status %d", a.code, a.raw, code)
	}
	if !strings.Contains(a.Message, message) {
		t.Errorf("message %q does not hold %q", a.Message, message)
	}
}

func (f *fake) Usage(context.Context, string) (index.Usage, error) {
	return index.Usage{Images: int64(len(f.entries))}, nil
}

func (f *fake) Last() index.Revision { return index.Revision{Start: 1, N: 7} }
