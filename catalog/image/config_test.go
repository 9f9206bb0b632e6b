package image_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// TestConfig reads configs of all kinds, given as they are stored. One wrong
// field leaves the others readable.
func TestConfig(t *testing.T) {
	type env = map[string]string
	for _, tt := range []struct {
		name, config string
		args         []string
		env, labels  env
	}{
		{"all", `{"config":{"Cmd":["a"],"Env":["X=1"],"Labels":{"l":"v"}}}`, []string{"a"}, env{"X": "1"}, env{"l": "v"}},
		{"not JSON", `hello`, nil, nil, nil},
		{"empty", ``, nil, nil, nil},
		{"cut off", `{"config":{"Cmd":["a"]`, nil, nil, nil},
		{"null", `null`, nil, nil, nil},
		{"array", `[{"config":{"Cmd":["a"]}}]`, nil, nil, nil},
		{"nulls", `{"created":null,"config":{"Cmd":null,"Entrypoint":null,"Env":null,"Labels":null}}`, nil, nil, nil},
		{"config is null", `{"config":null}`, nil, nil, nil},
		{"config is no object", `{"config":[],"os":"fc"}`, nil, nil, nil},
		{"empty lists", `{"config":{"Cmd":[],"Env":[],"Labels":{}}}`, nil, nil, nil},
		{"wrong os", `{"os":{},"architecture":7,"created":[],"config":{"Cmd":["a"],"Env":["X=1"]}}`, []string{"a"}, env{"X": "1"}, nil},
		{"Cmd is a string", `{"config":{"Entrypoint":["e"],"Cmd":"a","Labels":{"l":"v"}}}`, []string{"e"}, nil, env{"l": "v"}},
		{"Entrypoint is mixed", `{"config":{"Entrypoint":["e",1],"Cmd":["a"]}}`, []string{"a"}, nil, nil},
		{"Cmd holds null", `{"config":{"Entrypoint":["e"],"Cmd":["a",null]}}`, []string{"e"}, nil, nil},
		{"Env is an object", `{"config":{"Cmd":["a"],"Env":{"X":"1"}}}`, []string{"a"}, nil, nil},
		{"Env is mixed", `{"config":{"Cmd":["a"],"Env":["X=1",2]}}`, []string{"a"}, nil, nil},
		{"a label is no string", `{"config":{"Cmd":["a"],"Labels":{"l":"v","m":1}}}`, []string{"a"}, nil, nil},
		{"a label is null", `{"config":{"Cmd":["a"],"Labels":{"l":"v","m":null}}}`, []string{"a"}, nil, nil},
		{
			"Env in all forms",
			`{"config":{"Env":["A=1","B=two=2","C","D=","A=3","=x",""]}}`,
			nil, env{"A": "3", "B": "two=2", "C": "", "D": ""}, nil,
		},
		{"empty arguments", `{"config":{"Cmd":["","a",""]}}`, []string{"", "a", ""}, nil, nil},
		{"broken UTF-8", "{\"config\":{\"Cmd\":[\"\xff\"]}}", []string{"\ufffd"}, nil, nil},
		{"deeply nested", `{"config":{"Cmd":["a"],"x":` + strings.Repeat("[", 1<<20), nil, nil, nil},
		{"nested and closed", `{"config":{"Cmd":["a"]},"x":` + strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20) + `}`, nil, nil, nil},
		{"nested a little", `{"config":{"Cmd":["a"]},"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, []string{"a"}, nil, nil},
		{"nested label", `{"config":{"Cmd":["a"],"Labels":{"l":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}}}`, []string{"a"}, nil, nil},
		{"Env too large", `{"config":{"Cmd":["a"],"Env":["X=` + strings.Repeat("x", 256<<10) + `"],"Labels":{"l":"v"}}}`, []string{"a"}, nil, env{"l": "v"}},
		{"Labels too large", `{"config":{"Labels":{"l":"` + strings.Repeat("x", 256<<10) + `"},"Env":["X=1"]}}`, nil, env{"X": "1"}, nil},
		{"4 MiB", fill(`{"config":{"Cmd":["a"]},"x":"%s"}`, 4<<20), []string{"a"}, nil, nil},
		{"over 4 MiB", fill(`{"config":{"Cmd":["a"]},"x":"%s"}`, 4<<20+1), nil, nil, nil},
		{"50 MiB", fill(`{"config":{"Cmd":["a"]},"x":"%s"}`, 50<<20), nil, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newContent()
			m := c.manifest(object{
				"mediaType": ociManifest,
				"config":    desc(ociConfig, c.blob([]byte(tt.config))),
				"layers":    []object{desc(romType, c.blob([]byte("rom")))},
			})
			image := mustImage(t, c, m)
			same(t, image.Args, tt.args)
			same(t, image.Env, tt.env)
			same(t, image.Labels, tt.labels)
			if c.read > 4<<20+1 {
				t.Errorf("read %d bytes", c.read)
			}
		})
	}
}

// fill makes JSON of exactly size bytes.
func fill(format string, size int) string {
	return fmt.Sprintf(format, strings.Repeat("x", size-len(format)+len("%s")))
}

func TestConfigMissing(t *testing.T) {
	c := newContent()
	rom := []object{desc(romType, c.blob([]byte("rom")))}
	for name, config := range map[string]any{
		"not stored":     desc(ociConfig, digest.FromString("gone")),
		"without digest": object{},
		"absent":         nil,
		"wrong type":     []int{1},
		"bad digest":     desc(ociConfig, digest.Digest("sha256:"+strings.Repeat("A", 64))),
	} {
		m := c.manifest(object{"mediaType": ociManifest, "config": config, "layers": rom})
		image := mustImage(t, c, m)
		if image.Args != nil || image.Env != nil || image.Labels != nil || !image.Created.Equal(modified) {
			t.Errorf("%s: got %+v", name, image)
		}
	}
}

// TestManyLargeConfigs keeps the description of an index small, whatever the
// arguments of its many manifests add up to.
func TestManyLargeConfigs(t *testing.T) {
	c := newContent()
	var children []object
	for i := range 64 {
		arg := fmt.Sprint(i, strings.Repeat("x", 200<<10))
		m := unikernel(c, fmt.Sprint(i), object{"os": arg, "config": object{"Cmd": []string{arg}}})
		children = append(children, desc(ociManifest, m.Digest))
	}
	d := describe(t, c, c.index(children...))
	if len(d.Image.Platforms) != 64 {
		t.Errorf("%d platforms", len(d.Image.Platforms))
	}
	if n := len(mustJSON(d)); n > 2<<20 {
		t.Errorf("the description has %d bytes", n)
	}
}

// TestConfigElements reads fields of as many elements as are allowed, and none
// of any that has more, however short they are.
func TestConfigElements(t *testing.T) {
	const most = 4096
	for n, want := range map[int]int{most: most, most + 1: 0} {
		args := strings.Repeat(`"",`, n-1) + `""`
		var env, labels []string
		for i := range n {
			env, labels = append(env, fmt.Sprintf(`"%d=x"`, i)), append(labels, fmt.Sprintf(`"%d":""`, i))
		}
		c := newContent()
		config := fmt.Sprintf(`{"config":{"Cmd":[%s],"Env":[%s],"Labels":{%s}}}`, args, strings.Join(env, ","), strings.Join(labels, ","))
		image := describe(t, c, c.manifest(object{
			"mediaType": ociManifest,
			"config":    desc(ociConfig, c.blob([]byte(config))),
			"layers":    []object{desc(romType, c.blob([]byte("rom")))},
		})).Image
		if len(image.Args) != want || len(image.Env) != want || len(image.Labels) != want {
			t.Errorf("of %d: %d arguments, %d variables, %d labels; want %d", n, len(image.Args), len(image.Env), len(image.Labels), want)
		}
	}
}

// TestManyROMs lists as many ROMs as are allowed, over all manifests of an image.
func TestManyROMs(t *testing.T) {
	c := newContent()
	rom := desc(romType, c.blob([]byte("rom")))
	layers := make([]object, 3000)
	for i := range layers {
		layers[i] = rom
	}
	one := c.manifest(object{"mediaType": ociManifest, "layers": layers})
	two := c.manifest(object{"mediaType": ociManifest, "layers": layers, "annotations": object{"a": "b"}})
	image := describe(t, c, c.manifest(object{
		"mediaType": ociIndex, "manifests": []object{{"mediaType": ociManifest, "digest": one.Digest}, {"mediaType": ociManifest, "digest": two.Digest}},
	})).Image
	if first, second := len(image.Platforms[0].ROMs), len(image.Platforms[1].ROMs); first != 3000 || second != 4096-3000 {
		t.Errorf("%d and %d ROMs, want 4096 together", first, second)
	}
}
