package config

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func printed(t *testing.T, c *Config) string {
	t.Helper()
	var out strings.Builder
	if err := c.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestWrite(t *testing.T) {
	const want = `data: /srv
http:
  listen: 127.0.0.1:5000
  public_url: ""
  open: false
  hosts: ""
  index_host: ""
  metros: ""
  secret: ""
  trusted_proxies: ""
  tls:
    certificate: ""
    key: ""
  timeouts:
    read_header: 10s
    idle: 2m
    stall: 30s
    request: 1m
    shutdown: 30s
  limits:
    header_bytes: 64KiB
    minimum_rate: 4KiB
    connections: 0
    connections_per_client: 0
    requests: 0
    uploads: 0
    requests_per_account: 0
    uploads_per_account: 0
    streams: 0
    streams_per_account: 0
storage:
  filesystem:
    rootdirectory: /srv/storage
  free_floor: 1GiB
  delete:
    enabled: true
  redirect:
    disable: true
  cache:
    blobdescriptor: ""
  maintenance:
    uploadpurging:
      enabled: true
      age: 168h
      interval: 24h
      dryrun: false
    readonly:
      enabled: false
  tag:
    concurrencylimit: 0
registry:
  missing_layers: false
catalog:
  path: /srv/catalog.db
accounts:
  file: /srv/accounts.yaml
  anonymous_official: false
  default_quotas: ""
limits:
  memory: 256MiB
  memory_per_account: "0"
  open_uploads: 1000
  uncollected: 10GiB
audit:
  file: ""
log:
  file: ""
  level: info
  format: text
  access: true
metrics:
  enabled: true
  listen: ""
debug:
  listen: ""
scrub:
  enabled: true
  rate: 8MiB
  operations: 20
  interval: 720h
collect:
  enabled: true
  lease: 1h
  quarantine: 24h
  uploads: 24h
  interval: 1m
  search: 24h
  rate: 256MiB
  operations: 500
  share: 10
events:
  keep: 1000000
  age: 720h
  internal_networks: ""
  timeout: 10s
rules:
  interval: 24h
  default: {}
  namespaces: {}
`
	c := load(t, "data: /srv")
	if got := printed(t, c); got != want {
		t.Errorf("got:\n%s", got)
	}
	if c.Catalog.Path != "" || c.Storage.Parameters != nil {
		t.Error("printing changed the configuration")
	}
}

// What is printed loads to the same.
func TestWriteLoads(t *testing.T) {
	for name, text := range map[string]string{
		"default":  "",
		"inmemory": "storage: inmemory",
		"odd text": "data: 'true'\nhttp: {public_url: \"a: b\\n#c\"}\nlog: {level: '8'}",
		"types":    "storage: {s3: {bucket: '8', chunksize: 8, secure: true, ratio: 1.5, none: , below: {a: [1, {b: c}]}}, redirect: {disable: true}}",
		"all else": "http: {open: true, timeouts: {idle: 1h2m3s, shutdown: 0s}, limits: {header_bytes: 5000}}",
	} {
		t.Run(name, func(t *testing.T) {
			c := load(t, text)
			again := load(t, printed(t, c))
			c.resolve()
			c.sources = again.sources
			if !reflect.DeepEqual(c, again) {
				t.Errorf("got %+v\nwant %+v", again, c)
			}
		})
	}
}

func TestWriteMasks(t *testing.T) {
	c := load(t, `
http: {secret: hush}
storage:
  s3: {bucket: b, keyid: visible, accesskey: hush, secretkey: hush, sessiontoken: hush, Password: hush, empty_token: "", below: {key: hush, list: [{secret: [hush]}]}}
`)
	out := printed(t, c)
	if strings.Contains(out, "hush") || strings.Count(out, mask) != 7 || !strings.Contains(out, "keyid: visible") || !strings.Contains(out, `empty_token: ""`) {
		t.Errorf("got:\n%s", out)
	}
	if c.HTTP.Secret != "hush" || c.Storage.Parameters["secretkey"] != "hush" {
		t.Error("printing changed the configuration")
	}
	again, err := Load(write(t, out), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Validate(); err == nil || !strings.Contains(err.Error(), "http.secret: "+maskedSecret) {
		t.Errorf("masks taken for secrets: %v", err)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("pipe closed") }

func TestWriteError(t *testing.T) {
	if err := load(t, "").Write(broken{}); err == nil || !strings.Contains(err.Error(), "pipe closed") {
		t.Errorf("got %v", err)
	}
}

// A secret in the wrong place is not repeated in the error.
func TestErrorsKeepSecrets(t *testing.T) {
	for _, text := range []string{
		"http: {secret: [hush]}", "http: {secret: {hush: 1}}", "http: {secret: !hush2 hush}", "storage: {s3: hush}",
		"storage: {s3: {secretkey: hush, secretkey: hush}}", "http: {secret: hush, secret: hush}", "http: {secret: 'hush",
	} {
		_, err := Load(write(t, text), nil)
		if err == nil || strings.Contains(strings.ReplaceAll(err.Error(), "!hush2", ""), "hush") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
