package operation

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/berth-oci/berth/test/harness"
)

// TestPathPrefix puts a proxy in front that takes a path off: what berth links
// to is where clients find it.
func TestPathPrefix(t *testing.T) {
	t.Parallel()
	inner := &url.URL{Scheme: "http", Host: harness.FreeAddress(t)}
	proxy := httptest.NewServer(http.StripPrefix("/registry", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		httputil.NewSingleHostReverseProxy(inner).ServeHTTP(w, r)
	})))
	t.Cleanup(proxy.Close)
	harness.Start(t, harness.WithEnv("BERTH_HTTP_PUBLIC_URL="+proxy.URL+"/registry"), harness.WithArgs("--listen", inner.Host))
	// No client can be told of a path, so it is put in on the way.
	transport := roundTrip(func(r *http.Request) (*http.Response, error) {
		if len(r.URL.Path) >= 4 && r.URL.Path[:4] == "/v2/" {
			r = r.Clone(r.Context())
			r.URL.Path = "/registry" + r.URL.Path
		}
		return http.DefaultTransport.RoundTrip(r)
	})
	image, err := random.Image(100, 2)
	if err != nil {
		t.Fatal(err)
	}
	host := proxy.Listener.Addr().String()
	for _, tag := range []string{"a", "b", "c"} {
		ref, err := name.ParseReference(host+"/alice/app:"+tag, name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, image, remote.WithTransport(transport)); err != nil {
			t.Fatal(err)
		}
	}
	outside := harness.NewClient(proxy.URL)
	next := proxy.URL + "/registry/v2/alice/app/tags/list?n=1"
	for pages := 1; ; pages++ {
		page, err := outside.Want(http.StatusOK, http.MethodGet, next, nil)
		if err != nil {
			t.Fatal(err)
		}
		link := page.Header.Get("Link")
		if link == "" {
			if pages != 3 {
				t.Fatalf("%d pages of 3", pages)
			}
			return
		}
		target, err := url.Parse(link[1 : len(link)-len(`>; rel="next"`)])
		if err != nil {
			t.Fatal(err)
		}
		asked, err := url.Parse(next)
		if err != nil {
			t.Fatal(err)
		}
		next = asked.ResolveReference(target).String()
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
