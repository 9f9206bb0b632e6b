package images

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
)

func sha(char string) digest.Digest { return digest.Digest("sha256:" + strings.Repeat(char, 64)) }

// full has something in every field, official next to nothing.
var (
	full = index.Entry{
		Repository: "alice/app", Digest: shaA, Tags: []string{"latest", "v1"},
		Image: image.Image{
			Created: time.Date(2026, 1, 31, 12, 0, 0, 500_000_000, time.FixedZone("", 7200)),
			Size:    2487552, Kernel: true, Initrd: true,
			Args:       []string{"/bin/app", "a <b> & \"c\""},
			KernelArgs: []string{"netdev.ip=10.0.0.2/24"},
			Env:        map[string]string{"PATH": "/bin", "A": "x=y"},
			Labels:     map[string]string{"org.example": "<&>"},
			Platforms: []image.Platform{
				{
					Digest: sha("1"), OS: "kraftcloud", Architecture: "x86_64", Size: 2487552,
					ROMs:   []image.Part{},
					Kernel: &image.Part{Digest: sha("2"), Size: 1, MediaType: "application/vnd.unikraft.kernel.v1"},
					Initrd: &image.Part{Digest: sha("3"), Size: 2487551, MediaType: "application/vnd.oci.image.layer.v1.tar"},
					Args:   []string{"/bin/app", "a <b> & \"c\""}, KernelArgs: []string{"netdev.ip=10.0.0.2/24"},
				},
				{
					Digest: sha("4"), OS: "qemu", Architecture: "arm64",
					ROMs: []image.Part{{Digest: sha("5"), MediaType: "application/vnd.unikraft.rom.v1"}},
				},
			},
		},
	}
	bare = index.Entry{
		Repository: "official/utils/tunnel", Digest: shaB,
		Image: image.Image{Created: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), ROM: true},
	}
)

var opTime = regexp.MustCompile(`"op_time_us":[0-9]+}\n$`) // answers end in a newline

// steady takes what differs between requests out of an answer.
func steady(raw string) string { return opTime.ReplaceAllString(raw, `"op_time_us":0}`) }

func TestGoldenV1(t *testing.T) {
	server := serve(t, &fake{entries: []index.Entry{full, bare}}, Options{})
	// The documents' order of fields, in one line.
	want := `{"status":"success","data":{"images":[` +
		`{"digest":"alice/app@` + shaA + `","tags":["alice/app:latest","alice/app:v1"],"initrd":true,"size_in_bytes":2487552,` +
		`"args":` + quoted(image.QuoteArgs(full.Image.Args)) + `,"kernel_args":"netdev.ip=10.0.0.2/24","labels":{"org.example":"<&>"}},` +
		`{"digest":"utils/tunnel@` + shaB + `","tags":[],"initrd":false,"size_in_bytes":0}` +
		`]},"op_time_us":0}`
	if got := steady(get(t, server.URL+"/v1/images/list", "").raw); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func quoted(s string) string { return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"` }

func TestGoldenCurrent(t *testing.T) {
	server := serve(t, &fake{entries: []index.Entry{full, bare}}, Options{PublicHost: "registry.example.com"})
	want := `{"status":"success","data":{"images":[` +
		`{"uuid":"860a6df9-c356-57ff-946e-76efa389ddd1","created_at":"2026-01-31T10:00:00.5Z","url":"registry.example.com/alice/app@` + shaA + `",` +
		`"tags":["latest","v1"],"initrd_or_rom":true,"size_in_bytes":2487552,"args":["/bin/app","a <b> & \"c\""],"env":{"A":"x=y","PATH":"/bin"},` +
		`"platforms":[` +
		`{"digest":"` + string(sha("1")) + `","os":"kraftcloud","architecture":"x86_64","size_in_bytes":2487552,` +
		`"kernel":{"digest":"` + string(sha("2")) + `","size":1,"media_type":"application/vnd.unikraft.kernel.v1"},` +
		`"initrd":{"digest":"` + string(sha("3")) + `","size":2487551,"media_type":"application/vnd.oci.image.layer.v1.tar"},` +
		`"roms":[],"args":["/bin/app","a <b> & \"c\""],"kernel_args":["netdev.ip=10.0.0.2/24"]},` +
		`{"digest":"` + string(sha("4")) + `","os":"qemu","architecture":"arm64","size_in_bytes":0,` +
		`"roms":[{"digest":"` + string(sha("5")) + `","size":0,"media_type":"application/vnd.unikraft.rom.v1"}]}]},` +
		`{"uuid":"ba6a5022-f3cb-5267-9844-123345787346","created_at":"2026-01-01T00:00:00Z","url":"registry.example.com/utils/tunnel@` + shaB + `",` +
		`"tags":[],"initrd_or_rom":true,"size_in_bytes":0,"platforms":[]}` +
		`]},"op_time_us":0}`
	for _, path := range []string{"/v1/images", "/images", "/v1/image-store"} {
		a := get(t, server.URL+path, "null")
		if got := steady(a.raw); got != want {
			t.Errorf("%s: got  %s\nwant %s", path, got, want)
		}
		if kind := a.header.Get("Content-Type"); kind != "application/json" || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: headers %v", path, a.header)
		}
	}
	// Without a public host, the request's stands in front.
	own := serve(t, &fake{entries: []index.Entry{full}}, Options{})
	host := strings.TrimPrefix(own.URL, "http://")
	if a := get(t, own.URL+"/images", ""); a.names()[0] != host+"/alice/app" {
		t.Errorf("got %v, want the host %s in front", a.names(), host)
	}
}

func TestTimestamp(t *testing.T) {
	for _, test := range []struct {
		t    time.Time
		want string
	}{
		{time.Date(2026, 1, 31, 12, 0, 0, 1, time.UTC), "2026-01-31T12:00:00.000000001Z"},
		{time.Time{}, "0001-01-01T00:00:00Z"},
		{time.Date(9999, 12, 31, 23, 0, 0, 0, time.FixedZone("", -7200)), "9999-12-31T23:59:59.999999999Z"},
		{time.Date(0, 1, 1, 0, 0, 0, 0, time.FixedZone("", 7200)), "0000-01-01T00:00:00Z"},
	} {
		got := timestamp(test.t)
		if _, err := time.Parse(time.RFC3339Nano, got); err != nil || got != test.want {
			t.Errorf("%v: got %s, want %s (%v)", test.t, got, test.want, err)
		}
	}
}
