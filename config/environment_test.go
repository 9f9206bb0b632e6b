package config

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestEnvironment(t *testing.T) {
	c := load(t, "data: file\nhttp: {open: false, timeouts: {idle: 1s}}\nlog: {level: warn}\n",
		"BERTH_DATA=first", "BERTH_DATA=/srv/berth", "BERTH_HTTP_OPEN=true", "BERTH_HTTP_TLS_CERTIFICATE=a.pem", "BERTH_HTTP_SECRET=0123",
		"BERTH_HTTP_TIMEOUTS_READ_HEADER=3s", "BERTH_HTTP_LIMITS_HEADER_BYTES=1MiB", "BERTH_STORAGE_TAG_CONCURRENCYLIMIT=4",
		"BERTH_STORAGE_REDIRECT_DISABLE=true", "BERTH_STORAGE_MAINTENANCE_READONLY_ENABLED=true")
	if c.Data != "/srv/berth" || !c.HTTP.Open || c.HTTP.TLS.Certificate != "a.pem" || c.HTTP.Secret != "0123" ||
		c.HTTP.Timeouts.ReadHeader != 3*time.Second || c.HTTP.Timeouts.Idle != time.Second || c.HTTP.Limits.HeaderBytes != 1<<20 ||
		c.Storage.Tag.ConcurrencyLimit != 4 || !*c.Storage.Redirect.Disable || !c.ReadOnly() || c.Log.Level != "warn" {
		t.Errorf("got %+v", c)
	}
}

// Every key can be set by its variable, and by its path in the file.
func TestEveryKey(t *testing.T) {
	values := map[string]string{
		"text": "some-text", "true or false": "true", "a whole number": "7",
		"a duration like 30s or 2m": "77s", "names of hosts, separated by commas or in a list": "registry.lan", "a size like 64KiB or a number of bytes": "7KiB",
	}
	for _, k := range Keys() {
		if k.Doc == "" || k.Type == "" || !strings.HasPrefix(k.Env, EnvPrefix) || kubernetes.MatchString(k.Env+"=x") {
			t.Errorf("%+v is not documented, or its variable is not one", k)
		}
		s, ok := defaults().table()[k.Path]
		if !ok {
			continue // of a driver
		}
		value := values[kind(s.field)]
		parts := strings.Split(k.Path, ".")
		text := strings.Join(parts, ": {") + ": " + value + strings.Repeat("}", len(parts)-1)
		want := defaults()
		if err := parse(want.table()[k.Path].field, value); err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]*Config{"file": load(t, text), "environment": load(t, "", k.Env+"="+value)} {
			c.sources = want.sources
			if !reflect.DeepEqual(c, want) {
				t.Errorf("%s by %s: got %+v", k.Path, name, c)
			}
		}
	}
}

func TestEnvironmentRefused(t *testing.T) {
	const drivers = "filesystem, inmemory and s3 (also called s3aws)"
	for name, test := range map[string]struct {
		environ []string
		want    []string
	}{
		"several at once": {
			[]string{"BERTH_HTTP_LISTNE=x", "BERTH_HTTP_TIMEOUTS_IDLE=abc", "BERTH_HTTP_OPEN=1", "BERTH_HTTP_LIMITS_HEADER_BYTES=many"},
			[]string{
				`BERTH_HTTP_LIMITS_HEADER_BYTES: "many" is not a size like 64KiB or a number of bytes`,
				`BERTH_HTTP_LISTNE: unknown variable; did you mean BERTH_HTTP_LISTEN?`,
				`BERTH_HTTP_OPEN: "1" is not true or false`,
				`BERTH_HTTP_TIMEOUTS_IDLE: "abc" is not a duration like 30s or 2m`,
			},
		},
		"short":             {[]string{"BERTH_LISTEN=x"}, []string{`BERTH_LISTEN: unknown variable; did you mean BERTH_HTTP_LISTEN?`}},
		"longer":            {[]string{"BERTH_DATA_FOLDER=x"}, []string{`BERTH_DATA_FOLDER: unknown variable; did you mean BERTH_DATA?`}},
		"prefix alone":      {[]string{"BERTH_=x"}, []string{`BERTH_: unknown variable; did you mean BERTH_DATA?`}},
		"cache":             {[]string{"BERTH_STORAGE_CACHE_LAYERINFO=redis"}, []string{`BERTH_STORAGE_CACHE_LAYERINFO: a cache of descriptors would still know what has been deleted beside it; leave it out`}},
		"unknown driver":    {[]string{"BERTH_STORAGE=gcs"}, []string{`BERTH_STORAGE: unknown driver "gcs"; berth has ` + drivers}},
		"unknown section":   {[]string{"BERTH_STORAGE_DELTE_ENABLED=true"}, []string{`BERTH_STORAGE_DELTE_ENABLED: unknown variable; did you mean BERTH_STORAGE_DELETE_ENABLED?`}},
		"driver, no name":   {[]string{"BERTH_STORAGE_S3=x"}, []string{`BERTH_STORAGE_S3: unknown variable; did you mean BERTH_STORAGE_S3_*?`}},
		"two drivers":       {[]string{"BERTH_STORAGE=inmemory", "BERTH_STORAGE_S3_BUCKET=x"}, []string{`BERTH_STORAGE_S3_BUCKET: BERTH_STORAGE names another storage driver; there can be only one`}},
		"below a parameter": {[]string{"BERTH_STORAGE_S3_A=1", "BERTH_STORAGE_S3_A_B=2"}, []string{`BERTH_STORAGE_S3_A_B: a is a value of its own and can have nothing below it`}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load("", test.environ)
			wantError(t, err, "", test.want...)
		})
	}
}

// What is wrong in the file and in the environment comes in one go.
func TestBothRefused(t *testing.T) {
	path := write(t, "dota: x\n")
	_, err := Load(path, []string{"BERTH_DOTA=x"})
	wantError(t, err, filepath.Dir(path),
		"berth.yaml:1: dota: unknown key; did you mean data?",
		"BERTH_DOTA: unknown variable; did you mean BERTH_DATA?")
}

// Kubernetes sets variables for a service called berth in every container.
func TestKubernetes(t *testing.T) {
	_, err := Load("", []string{
		"BERTH_SERVICE_HOST=10.0.0.1", "BERTH_SERVICE_PORT=5000", "BERTH_SERVICE_PORT_HTTP=5000", "BERTH_PORT=tcp://10.0.0.1:5000",
		"BERTH_PORT_5000_TCP=tcp://10.0.0.1:5000", "BERTH_PORT_5000_TCP_PROTO=tcp", "BERTH_PORT_5000_TCP_PORT=5000",
		"BERTH_PORT_5000_TCP_ADDR=10.0.0.1", "BERTH_STORAGE_S3_SERVICE_HOST=10.0.0.1", "BERTH_HTTP_PORT=tcp://10.0.0.1:5000",
	})
	if err != nil {
		t.Error(err)
	}
	_, err = Load("", []string{"BERTH_PORT=5000"})
	if err == nil {
		t.Error("a port that is no address of a service is accepted")
	}
}

func TestScalar(t *testing.T) {
	for text, want := range map[string]any{
		"true": true, "false": false, "8": 8, "1.5": 1.5, "-3": -3,
		`"true"`: "true", `'8'`: "8", `""`: "",
		"": "", "yes": "yes", "0123": "0123", "1e5": "1e5", "0x10": "0x10", "1_000": "1_000", "1.0": "1.0",
		"null": "null", "~": "~", "2020-01-01": "2020-01-01", "a: b": "a: b", "[x]": "[x]", "*x": "*x", "@x": "@x", `"x`: `"x`,
		"a #b": "a #b", " a ": " a ", "!!str 5": "!!str 5", "a\tb": "a\tb", "---": "---",
	} {
		if got := scalar(text); got != want {
			t.Errorf("%q: got %#v, want %#v", text, got, want)
		}
	}
}

// What is for the commands that are clients sets nothing, and is no mistake.
func TestClientVariables(t *testing.T) {
	if _, err := Load("", []string{EnvHost + "=registry.lan", EnvToken + "=hush"}); err != nil {
		t.Error(err)
	}
	if _, err := Load("", []string{EnvToken + "S=hush"}); err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("got %v", err)
	}
}
