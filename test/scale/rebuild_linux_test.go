package scale

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berth-oci/berth/catalog"
	"github.com/berth-oci/berth/catalog/bolt"
	"github.com/berth-oci/berth/storage"
	_ "github.com/berth-oci/berth/storage/local" // the driver
	"github.com/berth-oci/berth/test/bench/stored"
)

// BenchmarkRebuild makes the index of images in local files, a thousand or as many
// as SCALE_IMAGES says, in repositories of ten and in one. Processor time and
// memory are those of this process alone.
//
//	SCALE_IMAGES=100000 go test -bench Rebuild -benchtime 1x -run '^$' ./test/scale
func BenchmarkRebuild(b *testing.B) {
	images := 1000
	if n, err := strconv.Atoi(os.Getenv("SCALE_IMAGES")); err == nil {
		images = n
	}
	for name, write := range map[string]func(context.Context, string) error{
		"many": func(ctx context.Context, data string) error { return stored.Files(ctx, data, images, func(int) {}) },
		"one": func(ctx context.Context, data string) error {
			return stored.FilesOfOne(ctx, data, "alice/app", images, func(int) {})
		},
	} {
		b.Run(name, func(b *testing.B) {
			data := os.Getenv("SCALE_DATA")
			if data == "" {
				data = b.TempDir()
			} else {
				data = filepath.Join(data, name)
			}
			if _, err := os.Stat(filepath.Join(data, "storage")); err != nil {
				if err := write(b.Context(), data); err != nil {
					b.Fatal(err)
				}
			}
			store, err := storage.Open(b.Context(), "filesystem", map[string]any{"rootdirectory": filepath.Join(data, "storage")})
			if err != nil {
				b.Fatal(err)
			}
			defer store.Close()
			for b.Loop() {
				path := filepath.Join(b.TempDir(), "catalog.db")
				_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // the peak of what was before
				before, own := cpu(b), int64(0)
				x, err := bolt.Build(path, store.Identity(), func(x *bolt.Index) error {
					all := catalog.New(x, store, slog.New(slog.DiscardHandler))
					rebuilt := all.Rebuild(b.Context(), func(p catalog.Progress) {
						own = max(own, memory(b, "RssAnon:"))
					})
					return errors.Join(rebuilt, all.Close())
				})
				if err != nil {
					b.Fatal(err)
				}
				used := cpu(b) - before
				st, err := x.Stats(b.Context())
				if err != nil || st.Manifests != int64(2*images) {
					b.Fatalf("%d manifests, %v", st.Manifests, err)
				}
				info, err := os.Stat(path)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(used.Seconds()*1000/float64(images), "cpu-s/1000-images")
				b.ReportMetric(float64(memory(b, "VmHWM:")>>10), "peak-MB")
				b.ReportMetric(float64(own>>10), "own-MB")
				b.ReportMetric(float64(info.Size())/float64(images), "B/image")
				if err := x.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// cpu is the processor time that this process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// memory is a line of what the system says of the memory of this process, in
// kilobytes.
func memory(b *testing.B, what string) (kb int64) {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.SplitSeq(string(status), "\n") {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == what {
			kb, err = strconv.ParseInt(fields[1], 10, 64)
		}
	}
	if err != nil {
		b.Fatal(err)
	}
	return kb
}
