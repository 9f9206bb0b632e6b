package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-oci/berth/cmd/berth/server"
	"github.com/berth-oci/berth/config"
)

// TestConfigCheckStorage wants config check to refuse what serve refuses.
func TestConfigCheckStorage(t *testing.T) {
	for parameters, good := range map[string]bool{
		"{region: us-east-1, bucket: b}": true,
		"{region: us-east-1, bucket: b, regionendpoint: 'http://127.0.0.1:9000', forcepathstyle: true, accesskey: a, secretkey: b}": true,

		"{bucket: b}":                                                false,
		"{region: us-east-1}":                                        false,
		"{region: mars-north-1, bucket: b}":                          false,
		"{region: us-east-1, bucket: b, chunksize: 5}":               false,
		"{region: us-east-1, bucket: b, chunksize: lots}":            false,
		"{region: us-east-1, bucket: b, secure: perhaps}":            false,
		"{region: us-east-1, bucket: b, storageclass: CHEAP}":        false,
		"{region: us-east-1, bucket: b, objectacl: everyone}":        false,
		"{region: us-east-1, bucket: b, loglevel: debug, v4auth: 7}": false,
	} {
		t.Run(parameters, func(t *testing.T) {
			data := t.TempDir()
			path := filepath.Join(data, "berth.yaml")
			if err := os.WriteFile(path, fmt.Appendf(nil, "storage: {s3: %s}\n", parameters), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := run(t, data, "config", "check", "--config", path)
			if good {
				if err != nil || !strings.Contains(out, "bucket: b") {
					t.Errorf("got %v, %s", err, out)
				}
				return
			}
			c, loadErr := config.Load(path, []string{"BERTH_DATA=" + data})
			if loadErr != nil {
				t.Fatal(loadErr)
			}
			if err := c.Validate(); err != nil {
				t.Fatal(err)
			}
			b, serveErr := open(t.Context(), c, server.NewMetrics(), slog.New(slog.DiscardHandler), io.Discard)
			if serveErr == nil {
				_ = b.close()
				t.Fatal("serve accepts it")
			}
			if err == nil || out != "" || err.Error() != serveErr.Error() {
				t.Errorf("got %v and %.100q; serve says %v", err, out, serveErr)
			}
		})
	}
	// Looking changes nothing.
	data := filepath.Join(t.TempDir(), "none")
	ok(t, data, "config", "check")
	if _, err := os.Lstat(data); err == nil {
		t.Error("config check has made the data folder")
	}
}
