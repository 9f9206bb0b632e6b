package images

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/registry/access"
)

// jsonV1 and jsonCurrent are the forms as encoding/json writes them.
type jsonV1 struct {
	Digest     string            `json:"digest"`
	Tags       []string          `json:"tags"`
	Initrd     bool              `json:"initrd"`
	Size       int64             `json:"size_in_bytes"`
	Args       string            `json:"args,omitempty"`
	KernelArgs string            `json:"kernel_args,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
}

type jsonCurrent struct {
	UUID        string            `json:"uuid"`
	CreatedAt   string            `json:"created_at"`
	Owner       string            `json:"owner,omitempty"`
	URL         string            `json:"url"`
	Tags        []string          `json:"tags"`
	InitrdOrROM bool              `json:"initrd_or_rom"`
	Size        int64             `json:"size_in_bytes"`
	Args        []string          `json:"args,omitempty"`
	Env         map[string]string `json:"env,omitempty"`
	Users       []string          `json:"users,omitempty"`
	Platforms   []image.Platform  `json:"platforms"`
}

func v1Of(e index.Entry) any {
	tags := make([]string, len(e.Tags))
	for i, tag := range e.Tags {
		tags[i] = e.Name() + ":" + tag
	}
	return jsonV1{
		Digest: e.Name() + "@" + e.Digest.String(), Tags: tags, Initrd: e.Image.Initrd, Size: e.Image.Size,
		Args: image.QuoteArgs(e.Image.Args), KernelArgs: image.QuoteArgs(e.Image.KernelArgs), Labels: e.Image.Labels,
	}
}

func currentOf(host string, e index.Entry) any {
	return jsonCurrent{
		UUID: e.UUID().String(), CreatedAt: timestamp(e.Image.Created), URL: host + "/" + e.Name() + "@" + e.Digest.String(),
		Tags: append([]string{}, e.Tags...), InitrdOrROM: e.Image.Initrd || e.Image.ROM, Size: e.Image.Size,
		Args: e.Image.Args, Env: e.Image.Env, Platforms: append([]image.Platform{}, e.Image.Platforms...),
	}
}

// TestEncode wants the same bytes as encoding/json writes, whatever an image has.
func TestEncode(t *testing.T) {
	c := &call{handler: &handler{opts: Options{PublicHost: "host\xff<&>"}}, r: &http.Request{}}
	check := func(e index.Entry) {
		t.Helper()
		for name, form := range map[string]struct {
			got  []byte
			want any
		}{
			"first":   {renderV1(c, nil, &e), v1Of(e)},
			"current": {renderCurrent(c, nil, &e), currentOf(c.host(), e)},
		} {
			want, err := encode(form.want)
			if err != nil || string(form.got) != string(want) {
				t.Fatalf("%s form (%v): got\n%s\nwant\n%s", name, err, form.got, want)
			}
		}
	}
	check(full)
	check(bare)
	check(index.Entry{})
	g := generator{rand.New(rand.NewPCG(1, 2))}
	for range 3000 {
		check(g.entry())
	}
}

// TestReaders lists images of repositories that different accounts may read: each
// says who may.
func TestReaders(t *testing.T) {
	token, secret := access.NewToken("t")
	file := filepath.Join(t.TempDir(), "accounts.yaml")
	text := fmt.Sprintf("accounts:\n- {name: root, admin: true, tokens: [{label: t, sha256: %x}]}\n- {name: bob, read: [alice/app]}\n- {name: eve}\n", token.Hash)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	accounts, err := access.Open(file, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer accounts.Close()
	r := httptest.NewRequest(http.MethodGet, "/v1/images", nil)
	r.SetBasicAuth("root", secret)
	caller, err := access.NewGate(accounts, access.GateOptions{}).Identify(r)
	if err != nil {
		t.Fatal(err)
	}
	c := &call{handler: &handler{opts: Options{Accounts: accounts}}, r: r, caller: caller}
	for _, want := range [][2]string{
		{"alice/app", `["bob","root"]`}, {"alice/app", `["bob","root"]`}, {"alice/other", `["root"]`},
		{"official/app", `["bob","eve","root"]`}, {"eve/app", `["eve","root"]`}, {"alice/app", `["bob","root"]`},
	} {
		if got := string(renderCurrent(c, nil, &index.Entry{Repository: want[0]})); !strings.Contains(got, `"users":`+want[1]+",") {
			t.Errorf("%s: not %s in %s", want[0], want[1], got)
		}
	}
}

func FuzzEncodeString(f *testing.F) {
	for _, s := range odd {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, err := encode(s)
		if got := appendString([]byte("x"), s); err != nil || string(got) != "x"+string(want) {
			t.Errorf("%q (%v): got %s, want %s", s, err, got, want)
		}
	})
}

// odd are strings that an encoder may get wrong.
var odd = []string{
	"", "plain", `"`, `\`, "</script>&", "\b\f\n\r\t\x00\x1f\x7f", "\u2028\u2029\u2030", "é日本語😀", "\xff", "a\xc3", "\xed\xa0\x80", "\ufffd",
	"it's", "a b", strings.Repeat("long ", 100),
}

// generator makes entries of all kinds.
type generator struct{ *rand.Rand }

func (g generator) string() string {
	s := odd[g.IntN(len(odd))]
	if g.IntN(3) == 0 {
		s += odd[g.IntN(len(odd))]
	}
	return s
}

func (g generator) strings() (list []string) {
	if g.IntN(8) == 0 {
		return []string{}
	}
	for range g.IntN(4) {
		list = append(list, g.string())
	}
	return list
}

func (g generator) dictionary() map[string]string {
	if g.IntN(4) == 0 {
		return nil
	}
	m := make(map[string]string)
	for n := range g.IntN(20) {
		m[fmt.Sprint(g.string(), n)] = g.string()
	}
	return m
}

func (g generator) part() image.Part {
	return image.Part{Digest: digest.Digest(g.string()), Size: g.Int64() - g.Int64(), MediaType: g.string()}
}

func (g generator) platform() image.Platform {
	p := image.Platform{Digest: digest.Digest(g.string()), OS: g.string(), Architecture: g.string(), Size: g.Int64N(1 << 40), Args: g.strings(), KernelArgs: g.strings()}
	if part := g.part(); g.IntN(2) == 0 {
		p.Kernel = &part
	}
	if part := g.part(); g.IntN(2) == 0 {
		p.Initrd = &part
	}
	if g.IntN(4) > 0 {
		p.ROMs = []image.Part{}
	}
	for range g.IntN(3) {
		p.ROMs = append(p.ROMs, g.part())
	}
	return p
}

func (g generator) entry() index.Entry {
	e := index.Entry{
		Repository: []string{"alice/app", "official/app", "official/utils/app"}[g.IntN(3)], Digest: digest.Digest(g.string()), Tags: g.strings(),
		Image: image.Image{
			Created: time.Unix(g.Int64N(1<<39)-1<<38, g.Int64N(2)*g.Int64N(1e9)), Size: g.Int64N(1 << 50),
			Initrd: g.IntN(2) == 0, ROM: g.IntN(2) == 0,
			Args: g.strings(), KernelArgs: g.strings(), Env: g.dictionary(), Labels: g.dictionary(),
		},
	}
	for range g.IntN(3) {
		e.Image.Platforms = append(e.Image.Platforms, g.platform())
	}
	return e
}
