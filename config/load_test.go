package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// write puts a configuration file into a folder of its own.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "berth.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// load gives the configuration of a file and an environment that are right.
func load(t *testing.T, text string, environ ...string) *Config {
	t.Helper()
	c, err := Load(write(t, text), environ)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// wantError compares an error's lines, less the folder of the file.
func wantError(t *testing.T, err error, folder string, want ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want:\n%s", strings.Join(want, "\n"))
	}
	got := strings.ReplaceAll(err.Error(), folder+string(filepath.Separator), "")
	if got != strings.Join(want, "\n") {
		t.Errorf("got:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
}

func TestDefaults(t *testing.T) {
	for name, path := range map[string]string{
		"no file":       "",
		"empty file":    write(t, ""),
		"only comments": write(t, "# nothing\n"),
		"only a marker": write(t, "---\n"),
		"empty section": write(t, "http:\n  # listen: x\nstorage:\n"),
		"empty value":   write(t, "data:\nhttp: {listen: }\nstorage: {filesystem: }\n"),
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Load(path, []string{"PATH=/bin", "BERTH_CONFIG=x.yaml", "BERTHA=1"})
			if err != nil {
				t.Fatal(err)
			}
			if c.Data != "./berth-data" || c.HTTP.Listen != "127.0.0.1:5000" || c.HTTP.Open ||
				c.HTTP.Timeouts.Idle != 2*time.Minute || c.HTTP.Limits.HeaderBytes != 65536 ||
				c.Log.Level != "info" || !c.Log.Access || !c.Metrics.Enabled {
				t.Errorf("got %+v", c)
			}
			if err := c.Validate(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFile(t *testing.T) {
	c := load(t, `
data: /srv/berth
http:
  listen: "[::1]:0"
  public_url: https://registry.example.com:8443
  open: true
  timeouts: &slow {read_header: 1m, idle: 1h30m, stall: 20s, request: 2m}
  limits: {header_bytes: 8192}
storage: {inmemory: , maintenance: {readonly: {enabled: true}, uploadpurging: {dryrun: true}}, tag: {concurrencylimit: 8}}
log: {level: debug, format: json, access: false}
metrics: {listen: ":9090"}
`)
	if c.Data != "/srv/berth" || c.HTTP.Listen != "[::1]:0" || !c.HTTP.Open || c.HTTP.PublicURL != "https://registry.example.com:8443" ||
		c.HTTP.Timeouts != (Timeouts{time.Minute, 90 * time.Minute, 20 * time.Second, 2 * time.Minute, 30 * time.Second}) || c.HTTP.Limits.HeaderBytes != 8192 ||
		c.Storage.Driver != "inmemory" || !c.ReadOnly() || !c.Storage.Maintenance.UploadPurging.DryRun || c.Storage.Tag.ConcurrencyLimit != 8 ||
		c.Log != (Log{"", "debug", "json", false}) || c.Metrics.Listen != ":9090" {
		t.Errorf("got %+v", c)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

// TestNetworks writes them in each way that is taken.
func TestNetworks(t *testing.T) {
	const want = "10.0.0.0/8,192.0.2.1,fd00::/64"
	for _, text := range []string{
		"[10.0.0.0/8, 192.0.2.1, 'fd00::/64']", "'10.0.0.0/8, 192.0.2.1/32,fd00::1/64'",
	} {
		c := load(t, "http: {trusted_proxies: "+text+"}")
		if got := c.HTTP.TrustedProxies.String(); got != want {
			t.Errorf("%s is read as %s", text, got)
		}
	}
	c, err := Load("", []string{"BERTH_HTTP_TRUSTED_PROXIES=10.0.0.0/8,192.0.2.1,fd00::/64"})
	if err != nil || c.HTTP.TrustedProxies.String() != want {
		t.Errorf("of the environment: %v, %v", c, err)
	}
	for _, text := range []string{"any", "10.0.0.0/33", "10.0.0.1:80", "fe80::1%eth0", "192.0.2.1;192.0.2.2"} {
		if _, err := Load("", []string{"BERTH_HTTP_TRUSTED_PROXIES=" + text}); err == nil || !strings.Contains(err.Error(), "networks like") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestFileRefused(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want []string
	}{
		"several at once": {
			"http:\n  listne: x\n  timeouts:\n    idle: abc\n  open: sometimes\nlogs: {}\n",
			[]string{
				`berth.yaml:2: http.listne: unknown key; did you mean http.listen?`,
				`berth.yaml:4: http.timeouts.idle: "abc" is not a duration like 30s or 2m`,
				`berth.yaml:5: http.open: "sometimes" is text, not true or false`,
				`berth.yaml:6: logs: unknown key; did you mean log?`,
			},
		},
		"right name, wrong place": {"listen: x", []string{`berth.yaml:1: listen: unknown key; did you mean http.listen?`}},
		"short form":              {"http: {tls: {cert: x}}", []string{`berth.yaml:1: http.tls.cert: unknown key; did you mean http.tls.certificate?`}},
		"upper case":              {"HTTP: {}", []string{`berth.yaml:1: HTTP: unknown key; did you mean http?`}},
		"far from all":            {"zzzzzzzzzz: 1", []string{`berth.yaml:1: zzzzzzzzzz: unknown key; the nearest known one is accounts`}},
		"number as a key":         {"5: 1", []string{`berth.yaml:1: 5: unknown key; the nearest known one is log`}},
		"dots":                    {"http.listen: x", []string{`berth.yaml:1: http.listen: unknown key; write each part of a path on a line of its own, indented below the one before`}},
		"twice":                   {"data: a\nlog: {}\ndata: b", []string{`berth.yaml:3: data: is set twice, first in line 1`}},
		"section is text":         {"http: yes", []string{`berth.yaml:1: http: is text, not a mapping of keys`}},
		"section is a list":       {"http:\n- listen", []string{`berth.yaml:2: http: is a list, not a mapping of keys`}},
		"file is a list":          {"- a", []string{`berth.yaml:1: the file: is a list, not a mapping of keys`}},
		"file is text":            {"hello", []string{`berth.yaml:1: the file: is text, not a mapping of keys`}},
		"value is a mapping":      {"data: {a: b}", []string{`berth.yaml:1: data: is a mapping, not text`}},
		"secret is a number":      {"http: {secret: 0123}", []string{`berth.yaml:1: http.secret: is a number, not text; put it in quotes`}},
		"secret is a list":        {"http: {secret: [hush]}", []string{`berth.yaml:1: http.secret: is a list, not text`}},
		"folder is a date":        {"data: 2020-01-01", []string{`berth.yaml:1: data: is a date, not text; put it in quotes`}},
		"strange type":            {"data: !odd x", []string{`berth.yaml:1: data: is of the type !odd, not text; put it in quotes`}},
		"number as a switch":      {"http: {open: 1}", []string{`berth.yaml:1: http.open: "1" is a number, not true or false`}},
		"text as a switch":        {`http: {open: "true"}`, []string{`berth.yaml:1: http.open: "true" is text, not true or false`}},
		"duration without unit":   {"http: {timeouts: {idle: 30}}", []string{`berth.yaml:1: http.timeouts.idle: "30" is not a duration like 30s or 2m`}},
		"unknown unit":            {"http: {limits: {header_bytes: 64kb}}", []string{`berth.yaml:1: http.limits.header_bytes: "64kb" is not a size like 64KiB or a number of bytes`}},
		"size too large":          {"http: {limits: {header_bytes: 9999999999GiB}}", []string{`berth.yaml:1: http.limits.header_bytes: "9999999999GiB" is not a size like 64KiB or a number of bytes`}},
		"negative size":           {"http: {limits: {header_bytes: -1}}", []string{`berth.yaml:1: http.limits.header_bytes: "-1" is not a size like 64KiB or a number of bytes`}},
		"not whole":               {"storage: {tag: {concurrencylimit: 1.5}}", []string{`berth.yaml:1: storage.tag.concurrencylimit: "1.5" is a number, not a whole number`}},
		"merge":                   {"log: &l {level: info}\nhttp: {<<: *l}", []string{`berth.yaml:2: http.<<: merging is not supported here; use an alias for a whole section`}},
		"list as a key":           {"? [a]\n: b", []string{`berth.yaml:1: a list is no name of a key`}},
		"tab":                     {"http:\n\tlisten: x", []string{`berth.yaml:2: is indented with a tab; YAML allows only spaces`}},
		"two documents":           {"data: a\n---\ndata: b", []string{`berth.yaml:2: a second document begins here; the configuration is one document`}},
		"alias of itself":         {"http: &h\n  timeouts: *h\n", []string{`berth.yaml:2: http.timeouts.timeouts: unknown key; did you mean http.timeouts?`}},

		"unknown driver":             {"storage: gcs", []string{`berth.yaml:1: storage: unknown driver "gcs"; berth has filesystem, inmemory and s3 (also called s3aws)`}},
		"unknown driver, mapping":    {"storage:\n  gcs: {bucket: x}", []string{`berth.yaml:2: storage.gcs: unknown key (or driver: berth has filesystem, inmemory and s3 (also called s3aws)); did you mean storage.s3?`}},
		"several drivers":            {"storage:\n  s3: {}\n  inmemory: {}", []string{`berth.yaml:3: storage: names several drivers (inmemory, s3); there can be only one`}},
		"driver's parameters":        {"storage: {s3: hush}", []string{`berth.yaml:1: storage.s3: is text, not a mapping of the driver's parameters`}},
		"parameter twice":            {"storage:\n  s3:\n    bucket: a\n    bucket: b", []string{`berth.yaml:4: storage.s3: mapping key "bucket" already defined at line 3`}},
		"beside the driver":          {"storage: {delete: {enable: true}}", []string{`berth.yaml:1: storage.delete.enable: unknown key; did you mean storage.delete.enabled?`}},
		"age":                        {"storage:\n  maintenance:\n    uploadpurging:\n      age: week", []string{`berth.yaml:4: storage.maintenance.uploadpurging.age: "week" is not a duration like 30s or 2m`}},
		"parts of a cache":           {"storage: {cache: {layerinfo: redis, blobdescriptorsize: 5}}", []string{`berth.yaml:1: storage.cache.layerinfo: a cache of descriptors would still know what has been deleted beside it; leave it out`, `berth.yaml:1: storage.cache.blobdescriptorsize: a cache of descriptors would still know what has been deleted beside it; leave it out`}},
		"parameters that explode":    {"storage:\n  s3:\n    a: &a [1,1,1,1,1,1,1,1,1,1]\n    b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n    c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n    d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n    e: [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n", []string{`berth.yaml:2: storage.s3: document contains excessive aliasing`}},
		"parameters in a circle":     {"storage:\n  s3: &a {b: *a}\n", []string{`berth.yaml:2: storage.s3: anchor 'a' value contains itself`}},
		"per cent in a name is text": {`"%d": {}`, []string{`berth.yaml:1: %d: unknown key; the nearest known one is log`}},

		"unknown alias":   {"log: {}\ndata: *x", []string{`berth.yaml:2: unknown anchor 'x' referenced`}},
		"not UTF-8":       {"# x\n\ndata: \xff\n", []string{`berth.yaml:3: invalid leading UTF-8 octet`}},
		"indentation":     {"data: x\nlog:\n  level: info\n format: text\nhttp: {}\n", []string{`berth.yaml:4: did not find expected key`}},
		"colon in a text": {"data: a: b\n", []string{`berth.yaml:1: mapping values are not allowed in this context`}},
		"open quote":      {"log:\n  level: info\ndata: 'x\nhttp: {}\n", []string{`berth.yaml:3: found unexpected end of stream`}},
		"open brace":      {"log: {level: info,\n  format: text}\nhttp: {open: true\ndata: x\n", []string{`berth.yaml:3: did not find expected ',' or '}'`}},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, test.text)
			c, err := Load(path, nil)
			if c != nil {
				t.Error("a configuration beside the error")
			}
			wantError(t, err, filepath.Dir(path), test.want...)
		})
	}
}

func TestFileUnreadable(t *testing.T) {
	folder := t.TempDir()
	missing := filepath.Join(folder, "missing.yaml")
	large := filepath.Join(folder, "large.yaml")
	if err := os.WriteFile(large, make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(missing, nil)
	wantError(t, err, folder, "configuration file: open missing.yaml: no such file or directory")
	_, err = Load(large, nil)
	wantError(t, err, folder, "configuration file: large.yaml is larger than 1MiB")
	_, err = Load(folder, nil)
	wantError(t, err, filepath.Dir(folder), "configuration file: "+filepath.Base(folder)+" is a folder")
}

func TestManyProblems(t *testing.T) {
	_, err := Load(write(t, strings.Repeat("x: y\n", 1000)), nil)
	if err == nil || strings.Count(err.Error(), "\n") != 50 || !strings.HasSuffix(err.Error(), "\nand 950 problems more") {
		t.Errorf("got %v", err)
	}
}

// Aliases are followed where a section or value may stand.
func TestAlias(t *testing.T) {
	c := load(t, "log: {level: &level debug}\nhttp: {secret: *level, timeouts: &t {idle: 5s}}\nstorage: {s3: &p {bucket: *level, n: 1}}\n")
	if c.HTTP.Secret != "debug" || c.HTTP.Timeouts.Idle != 5*time.Second || c.Storage.Parameters["bucket"] != "debug" {
		t.Errorf("got %+v", c)
	}
}

// Whatever the file holds, it is refused, or loads and is printed so that it
// loads again.
func FuzzLoad(f *testing.F) {
	f.Add("http: {listen: ':1', timeouts: {idle: 2m}}\nstorage: {s3: {a: &a [1], b: *a}, maintenance: {uploadpurging: {age: 3h}}}\n")
	f.Add("log: &l\n  level: debug\nstorage:\n  filesystem:\n    <<: *l\n")
	f.Add("---\ndata: |\n  x\n...\n---\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Load(write(t, text), nil)
		if err != nil {
			return
		}
		_ = c.Validate()
		_, _ = c.DistributionStorage()
		var out strings.Builder
		if err := c.Write(&out); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(write(t, out.String()), nil); err != nil {
			t.Errorf("%v\n%s", err, out.String())
		}
	})
}
