package clients

import (
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
)

// platformClient is a client of the platform's API, by the headers that it sends
// beside its token.
type platformClient struct {
	name   string
	header []string
	// bodies are what it sends where it wants all images.
	bodies []string
}

var platformClients = []platformClient{
	{
		name:   "the Go SDK and the unikraft command",
		header: []string{"Content-Type", "application/json", "Accept", "application/json", "User-Agent", "Go-http-client/1.1", "Accept-Encoding", "gzip"},
		bodies: []string{"", "[]", "null"},
	},
	{
		name: "the JavaScript SDK",
		header: []string{
			"Connection", "keep-alive", "Accept", "application/json", "Accept-Language", "*", "Sec-Fetch-Mode", "cors",
			"User-Agent", "node", "Accept-Encoding", "gzip, deflate",
		},
		bodies: []string{""},
	},
}

// asked sends a request as the client does, and decodes data of the answer, which
// must have exactly one key and no field that into has not.
func (p platformClient) asked(t testing.TB, b *harness.Berth, who harness.Account, target, body, key string, into any) {
	t.Helper()
	header := slices.Clone(p.header)
	if who.Bearer != "" {
		header = append(header, "Authorization", "Bearer "+who.Bearer)
	}
	var content any
	if body != "" {
		content = body
	}
	a := b.Must(t, http.StatusOK, http.MethodGet, target, content, header...)
	var answer struct {
		Status string                     `json:"status"`
		Data   map[string]json.RawMessage `json:"data"`
		OpTime *int64                     `json:"op_time_us"`
	}
	harness.DecodeStrictly(t, a.Body, &answer)
	if answer.Status != "success" || len(answer.Data) != 1 || answer.OpTime == nil || a.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("%s: %s", target, a.Body)
	}
	harness.DecodeStrictly(t, answer.Data[key], into)
}

type platformImage struct {
	Name string        `json:"name"`
	Tags []platformTag `json:"tags"`
}

type platformTag struct {
	Name     string    `json:"name"`
	Digest   string    `json:"digest"`
	Size     int64     `json:"size"`
	PushTime time.Time `json:"push_time"`
}

// TestControlPlaneList asks for the control plane's list of images, as `unikraft
// images list` does before anything else.
func TestControlPlaneList(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	admin, alice, bob := harness.AddAccount(t, b, "root", "--admin"), harness.AddAccount(t, b, "alice"), harness.AddAccount(t, b, "bob")
	root := &harness.Berth{Client: admin.On(b), Host: b.Host}
	before := time.Now().Add(-2 * time.Second)
	for _, repository := range []string{"alice/app", "alice/app/deep", "alice/app2", "bob/app", "official/python", "official/utils/tunnel"} {
		harness.PushSmall(t, root, repository, repository+"1", "2026-01-01T00:00:00Z", "latest", "v1")
		harness.PushSmall(t, root, repository, repository+"2", "2026-01-02T00:00:00Z", "v2")
	}
	untagged := harness.PushSmall(t, root, "alice/untagged", "u", "2026-01-01T00:00:00Z")
	// What is no unikernel is not in it.
	config := root.PutBlob(t, "alice/container", harness.OCIConfig, []byte(`{"os":"linux","architecture":"amd64"}`))
	root.PutManifest(t, "alice/container", "latest", harness.OCIManifest, harness.ManifestOf(config, root.PutBlob(t, "alice/container", harness.OCILayer, tarOf(t, "bin/app", "x"))))

	for _, client := range platformClients {
		t.Run(client.name, func(t *testing.T) {
			for _, test := range []struct {
				who    harness.Account
				target string
				want   []string
			}{
				{alice, "/v1/images?details=true", []string{"alice/app", "alice/app/deep", "alice/app2", "alice/untagged", "official/python", "official/utils/tunnel"}},
				{bob, "/v1/images?details=true", []string{"bob/app", "official/python", "official/utils/tunnel"}},
				{admin, "/v1/images?details=true&namespace=bob&namespace=official", []string{"bob/app", "official/python", "official/utils/tunnel"}},
				{alice, "/v1/images?details=true&namespace=alice%2Fapp&namespace=bob", []string{"alice/app", "alice/app/deep"}},
				{alice, "/v1/images?details=true&namespace=alice&tagged", []string{"alice/app", "alice/app/deep", "alice/app2"}},
				{alice, "/v1/images?details=true&namespace=bob", []string{}},
			} {
				var got []platformImage
				client.asked(t, b, test.who, test.target, "", "images", &got)
				names := []string{}
				for _, image := range got {
					names = append(names, image.Name)
					checkPlatformTags(t, root, image, before)
				}
				if !slices.Equal(names, test.want) {
					t.Errorf("%s: %s: got %v, want %v", test.who.Name, test.target, names, test.want)
				}
				// Without details there are names alone.
				var short []map[string]any
				client.asked(t, b, test.who, strings.Replace(test.target, "details=true", "details=false", 1), "", "images", &short)
				for i, image := range short {
					if !reflect.DeepEqual(image, map[string]any{"name": test.want[i]}) {
						t.Errorf("without details: %v", image)
					}
				}
			}
			// The command asks every metro too, whose images it takes as they are.
			for _, body := range client.bodies {
				var store []harness.EntryCurrent
				client.asked(t, b, alice, "/v1/image-store", body, "images", &store)
				if len(store) != 11 || store[6].URL != untagged.Current(b.Host).URL {
					t.Errorf("the image store has %d images", len(store))
				}
			}
		})
	}
}

// checkPlatformTags compares the tags of a repository with what the registry says.
func checkPlatformTags(t testing.TB, root *harness.Berth, image platformImage, before time.Time) {
	t.Helper()
	tags, err := root.TagsOf(image.Name)
	if err != nil {
		t.Fatal(err)
	}
	if image.Tags == nil || len(image.Tags) != len(tags) {
		t.Errorf("%s has the tags %v, want %v", image.Name, image.Tags, tags)
		return
	}
	for i, tag := range image.Tags {
		digest, err := root.DigestOf(image.Name, tags[i])
		if err != nil {
			t.Fatal(err)
		}
		found, err := root.Do(http.MethodGet, "/v1/images", `{"digest":"`+image.Name+"@"+digest+`"}`)
		if err != nil || !strings.Contains(string(found.Body), `"size_in_bytes":`+string(harness.JSON(tag.Size))) {
			t.Errorf("%s:%s has %d bytes: %s", image.Name, tag.Name, tag.Size, found.Body)
		}
		if tag.Name != tags[i] || tag.Digest != digest || tag.PushTime.Before(before) || tag.PushTime.After(time.Now().Add(2*time.Second)) {
			t.Errorf("%s: tag %d is %+v, want %s@%s", image.Name, i, tag, tags[i], digest)
		}
	}
}

// TestPushTimeMoves wants the time of a tag to be that of its last push, and every
// other tag's to stay.
func TestPushTimeMoves(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	harness.PushSmall(t, b, "alice/app", "one", "2026-01-01T00:00:00Z", "latest", "v1")
	times := func() map[string]platformTag {
		var got []platformImage
		platformClients[0].asked(t, b, harness.Account{}, "/v1/images?details=true", "", "images", &got)
		tags := map[string]platformTag{}
		for _, tag := range got[0].Tags {
			tags[tag.Name] = tag
		}
		return tags
	}
	before := times()
	for time.Now().Truncate(time.Second).Equal(before["latest"].PushTime) { // times are told by the second
		time.Sleep(10 * time.Millisecond)
	}
	two := harness.PushSmall(t, b, "alice/app", "two", "2026-01-02T00:00:00Z", "latest")
	after := times()
	if after["v1"] != before["v1"] || !after["latest"].PushTime.After(before["latest"].PushTime) || after["latest"].Digest != two.Digest {
		t.Errorf("%+v, then %+v", before, after)
	}
	// The times are storage's, and outlive the index.
	b.Stop()
	harness.RemoveIndex(t, b)
	b.Restart()
	if again := times(); !reflect.DeepEqual(again, after) {
		t.Errorf("built again: %+v, want %+v", again, after)
	}
}

// TestMetrosAndUsers asks for what the platform's clients know of a metro: which
// there are, who one is, and what one may.
func TestMetrosAndUsers(t *testing.T) {
	t.Parallel()
	b := harness.Start(t)
	admin, alice := harness.AddAccount(t, b, "root", "--admin"), harness.AddAccount(t, b, "alice", "--quota", "1MiB")
	small := harness.PushSmall(t, &harness.Berth{Client: alice.On(b), Host: b.Host}, "alice/app", "one", "2026-01-01T00:00:00Z", "latest")
	type metro struct {
		UUID     string `json:"uuid"`
		Endpoint string `json:"endpoint"`
		Name     string `json:"name"`
		IATACode string `json:"iata_code"`
		Country  string `json:"country"`
	}
	type user struct {
		UUID string `json:"uuid"`
		Name string `json:"name"`
	}
	ids := map[string]string{"root": harness.AccountUUID("root"), "alice": harness.AccountUUID("alice")}
	for _, client := range platformClients {
		t.Run(client.name, func(t *testing.T) {
			var metros []metro
			client.asked(t, b, alice, "/v1/metros", "", "metros", &metros)
			if len(metros) != 1 || metros[0] != (metro{metros[0].UUID, b.URL, "local", "", ""}) || len(metros[0].UUID) != 36 {
				t.Errorf("metros: %+v", metros)
			}
			var checks map[string]string
			client.asked(t, b, alice, "/v1/healthz", "", "checks", &checks)
			if checks["images"] != "healthy" {
				t.Errorf("health: %v", checks)
			}
			for who, want := range map[harness.Account][]user{
				admin: {{ids["alice"], "alice"}, {ids["root"], "root"}}, alice: {{ids["alice"], "alice"}},
			} {
				var users []user
				client.asked(t, b, who, "/v1/users", "", "users", &users)
				if !slices.Equal(users, want) {
					t.Errorf("users, to %s: %v", who.Name, users)
				}
			}
			var mine, same, hers []map[string]any
			client.asked(t, b, alice, "/v1/users/quotas", "", "quotas", &mine)
			client.asked(t, b, alice, "/v1/users/"+strings.ToUpper(ids["alice"])+"/quotas", "", "quotas", &same)
			client.asked(t, b, admin, "/v1/users/"+ids["alice"]+"/quotas", "", "quotas", &hers)
			want := wantQuota(ids["alice"], 1, 1<<20)
			want["used"].(map[string]any)["image_storage_bytes"] = usedBytes(mine)
			if usedBytes(mine) < float64(small.Size) {
				t.Errorf("alice has stored %v bytes", usedBytes(mine))
			}
			for _, got := range [][]map[string]any{mine, same, hers} {
				if len(got) != 1 || !reflect.DeepEqual(got[0], want) {
					t.Errorf("quotas: %v, want %v", got, want)
				}
			}
		})
	}
	// Of others, one learns nothing but that there is nobody.
	none := alice.On(b).Must(t, http.StatusNotFound, http.MethodGet, "/v1/users/"+harness.AccountUUID("nobody")+"/quotas", nil)
	other := alice.On(b).Must(t, http.StatusNotFound, http.MethodGet, "/v1/users/"+ids["root"]+"/quotas", nil)
	hide := strings.NewReplacer(harness.AccountUUID("nobody"), "", ids["root"], "", none.Header.Get("X-Request-Id"), "", other.Header.Get("X-Request-Id"), "").Replace
	if hide(string(none.Body)) != hide(string(other.Body)) {
		t.Errorf("%s, but %s", none.Body, other.Body)
	}
	for _, path := range []string{"/v1/users/alice/quotas", "/v1/users/" + ids["alice"], "/v1/users//quotas", "/v1/users/" + ids["alice"] + "/quotas/"} {
		admin.On(b).Must(t, http.StatusNotFound, http.MethodGet, path, nil)
	}
	for _, path := range []string{"/v1/users", "/v1/users/quotas", "/v1/users/" + ids["alice"] + "/quotas", "/v1/metros"} {
		b.Must(t, http.StatusUnauthorized, http.MethodGet, path, nil)
		if a := alice.On(b).Must(t, http.StatusMethodNotAllowed, http.MethodPost, path, "{}"); a.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: Allow is %q", path, a.Header.Get("Allow"))
		}
		if a := alice.On(b).Must(t, http.StatusOK, http.MethodHead, path, nil); len(a.Body) > 0 {
			t.Errorf("HEAD %s has a body", path)
		}
	}
	for _, path := range []string{"/v1/healthz", "/v1/openapi.yaml"} { // are for everyone
		b.Must(t, http.StatusOK, http.MethodGet, path, nil)
	}
}

func usedBytes(quotas []map[string]any) float64 {
	if len(quotas) != 1 {
		return -1
	}
	bytes, _ := quotas[0]["used"].(map[string]any)["image_storage_bytes"].(float64)
	return bytes
}

// wantQuota is a quota with every field of the SDKs' types, and berth's own.
func wantQuota(id string, images, hard float64) map[string]any {
	stats := func() map[string]any {
		return map[string]any{
			"instances": 0.0, "live_instances": 0.0, "live_vcpus": 0.0, "live_memory_mb": 0.0,
			"service_groups": 0.0, "services": 0.0, "volumes": 0.0, "total_volume_mb": 0.0,
		}
	}
	q := map[string]any{"uuid": id, "used": stats(), "hard": stats(), "limits": map[string]any{
		"min_memory_mb": 0.0, "max_memory_mb": 0.0, "min_volume_mb": 0.0, "max_volume_mb": 0.0,
		"min_autoscale_size": 0.0, "max_autoscale_size": 0.0, "min_vcpus": 0.0, "max_vcpus": 0.0,
	}}
	q["used"].(map[string]any)["images"] = images
	q["hard"].(map[string]any)["image_storage_bytes"] = hard
	return q
}

// TestMetrosOfConfiguration lists the metros that the configuration has, and does
// not start with one that nobody would find.
func TestMetrosOfConfiguration(t *testing.T) {
	t.Parallel()
	b := harness.Start(t, harness.WithEnv("BERTH_HTTP_METROS=fra/de=https://api.fra.example.com,lab-2=http://10.1.2.3:5000"))
	var metros []map[string]string
	platformClients[0].asked(t, b, harness.Account{}, "/v1/metros", "", "metros", &metros)
	for _, m := range metros {
		if len(m["uuid"]) != 36 {
			t.Errorf("no uuid: %v", m)
		}
		delete(m, "uuid")
	}
	if want := []map[string]string{
		{"endpoint": "https://api.fra.example.com", "name": "fra", "iata_code": "FRA", "country": "de"},
		{"endpoint": "http://10.1.2.3:5000", "name": "lab-2", "iata_code": "", "country": ""},
	}; !reflect.DeepEqual(metros, want) {
		t.Errorf("got %v", metros)
	}
	_, stderr, code := harness.CommandLine(t, []string{"BERTH_HTTP_METROS=fra=api.fra.example.com"}, "serve", "--data", t.TempDir())
	if code == 0 || !strings.Contains(stderr, "http.metros") || !strings.Contains(stderr, "like fra=https://api.fra.example.com") {
		t.Errorf("with a URL that is none: %d %s", code, stderr)
	}
}

// TestOwnIndex is a metro of one's own: the unikraft command takes api.fra.lan for
// its API, and finds the registry at index.fra.lan.
func TestOwnIndex(t *testing.T) {
	t.Parallel()
	const index = "index.fra.lan"
	b := harness.Start(t, harness.WithEnv("BERTH_HTTP_INDEX_HOST="+index))
	python := harness.PushSmall(t, b, "official/python", "p", "2026-01-01T00:00:00Z", "3.12")
	app := harness.PushSmall(t, b, "alice/app", "a", "2026-01-02T00:00:00Z", "latest")
	atIndex := func(s harness.SmallImage) harness.EntryCurrent {
		e := s.Current("")
		e.URL = index + "/" + s.Repository + "@" + s.Digest
		return e
	}
	harness.WantImages(t, b, "/v1/image-store", "", atIndex(app), atIndex(python))
	for _, s := range []harness.SmallImage{python, app} {
		long := index + "/" + s.Repository
		for _, way := range [][2]string{
			{"?digest=" + long + "@" + s.Digest, ""}, {"?tag=" + long + ":" + s.Tags[0], ""},
			{"?namespace=" + s.Repository + "&from=" + long + "@" + s.Digest, ""},
			{"", `[{"tag":"` + long + ":" + s.Tags[0] + `"}]`}, {"", `{"digest":"` + strings.ToUpper(index) + "/" + s.Repository + "@" + s.Digest + `"}`},
			{"", `{"tag":"` + index + "/" + harness.ShortName(s.Repository) + ":" + s.Tags[0] + `"}`},
			{"", `{"tag":"` + b.Host + "/" + harness.ShortName(s.Repository) + ":" + s.Tags[0] + `"}`},
		} {
			harness.WantImages(t, b, "/v1/images"+way[0], way[1], atIndex(s))
			harness.WantImages(t, b, "/v1/images/list"+way[0], way[1], s.V1())
		}
	}
	// The name is berth's own, also while everyone may do everything.
	for host, want := range map[string]int{index: 200, index + ":443": 200, "INDEX.fra.lan": 200, "index.fra.lan.evil.example.org": 421, "api.fra.lan": 421} {
		for _, path := range []string{"/v2/official/python/manifests/3.12", "/v1/images"} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Host = host
			a, err := b.HTTP.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = a.Body.Close()
			if a.StatusCode != want {
				t.Errorf("%s at %s: %d, want %d", path, host, a.StatusCode, want)
			}
		}
	}
	// Without the setting all stays as it is.
	plain := harness.Start(t)
	same := harness.PushSmall(t, plain, "official/python", "p", "2026-01-01T00:00:00Z", "3.12")
	harness.WantImages(t, plain, "/v1/images", "", same.Current(plain.Host))
	harness.WantNoImage(t, plain, "/v1/images", `{"tag":"`+index+`/official/python:3.12"}`)
}
