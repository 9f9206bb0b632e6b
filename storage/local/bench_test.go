package local

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// BenchmarkPush does the driver's part of pushing a tiny blob, by one client and
// by many, with each way to use a file system, alone and beside a writer of 100 MB/s.
func BenchmarkPush(b *testing.B) {
	for _, load := range []int{0, 100} {
		for _, clients := range []int{1, 16} {
			for name, opener := range openers {
				b.Run(fmt.Sprintf("%s/clients=%d/beside=%dMBps", name, clients, load), func(b *testing.B) {
					d := openWith(b, opener, b.TempDir())
					stop := writeBeside(b, d, load)
					benchmarkPush(b, d, clients)
					stop()
				})
			}
		}
	}
}

func benchmarkPush(b *testing.B, d *Driver, clients int) {
	var next atomic.Int64
	took := make([]time.Duration, b.N)
	var all sync.WaitGroup
	b.ResetTimer()
	for range clients {
		all.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				begin := time.Now()
				if err := pushOne(d, int(i)); err != nil {
					b.Error(err)
				}
				took[i-1] = time.Since(begin)
			}
		})
	}
	all.Wait()
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[b.N/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[b.N*99/100].Microseconds())/1000, "p99-ms")
}

func pushOne(d *Driver, i int) error {
	ctx := context.Background()
	content := fmt.Sprint("blob ", i)
	dgst := digest.FromString(content)
	upload := fmt.Sprintf("%sa/app%d/_uploads/%d", repositories, i%50, i)
	w, err := d.Writer(ctx, upload+"/data", false)
	if err != nil {
		return err
	}
	if _, err = w.Write([]byte(content)); err == nil {
		err = w.Commit(ctx)
	}
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		err = d.Move(ctx, upload+"/data", blobPath(dgst))
	}
	if err == nil {
		err = d.PutContent(ctx, layerLink(fmt.Sprintf("a/app%d", i%50), dgst), []byte(dgst))
	}
	if err == nil {
		err = d.Delete(ctx, upload)
	}
	return err
}

// writeBeside uploads files of 256 MB at so many MB/s until it is stopped.
func writeBeside(b *testing.B, d *Driver, rate int) (stop func()) {
	stopping, ended := make(chan struct{}), make(chan struct{})
	if rate == 0 {
		return func() {}
	}
	begin := time.Now()
	go func() {
		defer close(ended)
		buffer := make([]byte, 1<<20)
		for n := 0; ; n++ {
			upload := fmt.Sprintf("%slarge/_uploads/%d/data", repositories, n/256)
			w, err := d.Writer(context.Background(), upload, n%256 > 0)
			if err != nil {
				b.Error(err)
				return
			}
			_, err = w.Write(buffer)
			if err == nil && n%256 == 255 {
				err = w.Commit(context.Background())
			}
			if err != nil {
				b.Error(err)
			}
			_ = w.Close()
			if n%256 == 255 {
				_ = d.Delete(context.Background(), filepath.Dir(upload))
			}
			ahead := time.Duration(n+1)*time.Second/time.Duration(rate) - time.Since(begin)
			select {
			case <-stopping:
				return
			case <-time.After(max(ahead, 0)):
			}
		}
	}()
	time.Sleep(time.Second) // so that there is something to wait for
	return func() {
		close(stopping)
		<-ended
	}
}
