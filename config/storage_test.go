package config

import (
	"context"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
)

func TestDistributionStorage(t *testing.T) {
	purge := func(enabled bool, age string) map[any]any {
		return map[any]any{"enabled": enabled, "age": age, "interval": "24h0m0s", "dryrun": false}
	}
	section := func(driver string, parameters configuration.Parameters, direct bool) configuration.Storage {
		return configuration.Storage{
			driver:        parameters,
			"delete":      {"enabled": true},
			"redirect":    {"disable": direct},
			"tag":         {"concurrencylimit": 0},
			"maintenance": {"uploadpurging": purge(true, "168h0m0s"), "readonly": map[any]any{"enabled": false}},
		}
	}
	root := func(folder string) configuration.Parameters { return configuration.Parameters{"rootdirectory": folder} }
	s3 := section("s3", configuration.Parameters{"bucket": "b"}, false)
	s3["maintenance"] = configuration.Parameters{"uploadpurging": purge(false, "2h0m0s"), "readonly": map[any]any{"enabled": true}}
	for name, test := range map[string]struct {
		text    string
		environ []string
		want    configuration.Storage
	}{
		"default":            {"", nil, section("filesystem", root("flag/storage"), true)},
		"driver as text":     {"storage: inmemory", nil, section("inmemory", configuration.Parameters{}, true)},
		"filesystem as text": {"storage: filesystem", nil, section("filesystem", root("flag/storage"), true)},
		"no driver":          {"storage: {delete: {enabled: true}, redirect: {disable: true}, cache: {blobdescriptor: ''}}", nil, section("filesystem", root("flag/storage"), true)},
		"types stay": {"storage: {filesystem: {rootdirectory: /x, maxthreads: 8, text: '8', switch: true, below: {a: 1.5}}}", nil,
			section("filesystem", configuration.Parameters{"rootdirectory": "/x", "maxthreads": 8, "text": "8", "switch": true, "below": map[string]any{"a": 1.5}}, true)},
		"s3":           {"storage: {s3: {bucket: b}, maintenance: {readonly: {enabled: true}, uploadpurging: {enabled: false, age: 2h}}}", nil, s3},
		"s3aws":        {"storage: {s3aws: {bucket: b}, redirect: {disable: true}}", nil, section("s3", configuration.Parameters{"bucket": "b"}, true)},
		"other driver": {"storage: {s3: {bucket: b}}", []string{"BERTH_STORAGE=inmemory"}, section("inmemory", configuration.Parameters{}, true)},
		"same driver": {"storage: {s3: {bucket: a, region: r}}", []string{"BERTH_STORAGE=s3", "BERTH_STORAGE_S3_BUCKET=b", "BERTH_STORAGE_S3_SECURE=false", "BERTH_STORAGE_S3_A_B=c"},
			section("s3", configuration.Parameters{"bucket": "b", "region": "r", "secure": false, "a": map[string]any{"b": "c"}}, false)},
		"another by its parameter": {"storage: {s3: {bucket: b}}", []string{"BERTH_STORAGE_FILESYSTEM_ROOTDIRECTORY=/x"}, section("filesystem", root("/x"), true)},
		"merged parameters":        {"storage: {s3: {<<: {bucket: b}}}", nil, section("s3", configuration.Parameters{"bucket": "b"}, false)},
	} {
		t.Run(name, func(t *testing.T) {
			c := load(t, test.text, test.environ...)
			c.Data = "flag" // as a flag does, after loading
			got, err := c.DistributionStorage()
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %v\nwant %v", got, test.want)
			}
			// NewApp writes into what it gets.
			got[got.Type()]["useragent"] = "x"
			if again, _ := c.DistributionStorage(); !reflect.DeepEqual(again, test.want) {
				t.Errorf("the second call: got %v", again)
			}
			if err := c.Validate(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDistributionStorageRefused(t *testing.T) {
	c := load(t, "storage: {delete: {enabled: false}}")
	if s, err := c.DistributionStorage(); err == nil || s != nil {
		t.Errorf("got %v, %v", s, err)
	}
}

// distribution panics on a section that it does not like.
func TestNewApp(t *testing.T) {
	for name, text := range map[string]string{
		"inmemory":   "storage: inmemory",
		"filesystem": "storage: {filesystem: {rootdirectory: " + filepath.Join(t.TempDir(), "x") + ", maxthreads: 50}, maintenance: {readonly: {enabled: true}, uploadpurging: {age: 90m}}, tag: {concurrencylimit: 3}}",
		"default":    "data: " + t.TempDir(),
		"no purging": "storage: {inmemory: , maintenance: {uploadpurging: {enabled: false}}}",
	} {
		t.Run(name, func(t *testing.T) {
			s, err := load(t, text).DistributionStorage()
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			handlers.NewApp(ctx, &configuration.Configuration{Storage: s})
		})
	}
}
