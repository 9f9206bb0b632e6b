package images

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/registry/access"
)

// slow takes its time over an image that is there.
type slow struct{ *fake }

const slowness = 30 * time.Millisecond

func (s slow) ByUUID(ctx context.Context, id uuid.UUID, within []string) (index.Entry, error) {
	e, err := s.fake.ByUUID(ctx, id, within)
	if err == nil {
		time.Sleep(slowness)
	}
	return e, err
}

// TestForeignTakesNoTime wants that op_time_us does not tell an image of somebody
// else from one that does not exist: looking at it takes longer.
func TestForeignTakesNoTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts.yaml")
	token, secret := access.NewToken("x")
	err := access.Edit(path, func(f *access.File) error {
		return f.Add(access.Account{Name: "alice", Tokens: []access.Token{token}})
	})
	if err != nil {
		t.Fatal(err)
	}
	accounts, err := access.Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer accounts.Close()
	gate := access.NewGate(accounts, access.GateOptions{})
	server := httptest.NewServer(gate.Wrap(New(slow{shop()}, Options{Log: slog.New(slog.DiscardHandler)})))
	defer server.Close()
	foreign := id("bob/app", 5)
	for _, query := range []string{"uuid=" + foreign, "uuid=" + foreign + "," + uuidA, "from=" + foreign} {
		least := time.Hour
		for range 20 { // a machine that is busy is slow by itself
			r, err := http.NewRequest(http.MethodGet, server.URL+"/v1/images?"+query, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.SetBasicAuth("alice", secret)
			a := ask(t, r)
			if a.code != http.StatusNotFound || a.OpTime == nil || *a.OpTime < 0 {
				t.Fatalf("%s: %d %s", query, a.code, a.raw)
			}
			if least = min(least, time.Duration(*a.OpTime)*time.Microsecond); least < slowness {
				break
			}
		}
		if least >= slowness {
			t.Errorf("%s: op_time_us tells that the image is there: %s", query, least)
		}
	}
}
