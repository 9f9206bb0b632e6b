package local

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/berth-oci/berth/storage"
)

// needsDisk skips a test, or fails it if it is required, that needs more than
// there is here.
func needsDisk(t *testing.T, format string, arguments ...any) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("TEST_REQUIRE"), ","), "disk") {
		t.Fatalf("TEST_REQUIRE holds disk: "+format, arguments...)
	}
	t.Skipf("skipped: "+format, arguments...)
}

// disk is an ext4 file system in a file, mounted.
type disk struct {
	t     *testing.T
	image string
	at    string
}

func newDisk(t *testing.T, size int64) *disk {
	t.Helper()
	if os.Getuid() != 0 {
		needsDisk(t, "only root mounts file systems")
	}
	dir := t.TempDir()
	d := &disk{t: t, image: filepath.Join(dir, "image"), at: filepath.Join(dir, "mounted")}
	f, err := os.Create(d.image)
	if err == nil {
		err = errors.Join(f.Truncate(size), f.Close(), os.Mkdir(d.at, 0o700))
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", d.image).CombinedOutput(); err != nil {
		needsDisk(t, "mkfs.ext4: %v %s", err, out)
	}
	if out, err := exec.Command("mount", "-o", mountOptions, d.image, d.at).CombinedOutput(); err != nil {
		needsDisk(t, "a file cannot be mounted: %v %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("umount", d.at).Run() }) // it need not be mounted
	return d
}

func (d *disk) run(name string, arguments ...string) {
	d.t.Helper()
	if out, err := exec.Command(name, arguments...).CombinedOutput(); err != nil {
		d.t.Fatalf("%s %v: %v\n%s", name, arguments, err, out)
	}
}

// cut ends the file system as a power cut does: what is in its journal's memory
// is lost (EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH).
func (d *disk) cut() error {
	f, err := os.Open(d.at)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := uint32(2)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), 0x8004587d, uintptr(unsafe.Pointer(&flags))); errno != 0 {
		return errno
	}
	return nil
}

// holds wants what was promised, on a driver that was opened after a cut.
func (d *day) holds(t *testing.T) {
	t.Helper()
	for p, allowed := range d.promised {
		got, err := d.driver.GetContent(t.Context(), p)
		if err != nil && !isMissing(err) && !errors.Is(detail(err), syscall.EISDIR) {
			t.Errorf("%s: %v", p, err)
		}
		if !slices.Contains(allowed, string(got)) {
			t.Errorf("%s: got %q, promised %q", p, got, allowed)
		}
		d.promised[p] = []string{string(got)}
	}
}

// TestPowerCut runs days on a real file system that is shut down at any moment,
// and wants what was answered to be there when it is mounted again. A few rounds
// by default; TEST_REQUIRE=disk makes them many.
func TestPowerCut(t *testing.T) {
	disk := newDisk(t, 64<<20)
	rounds, longest := 4, 300
	if slices.Contains(strings.Split(os.Getenv("TEST_REQUIRE"), ","), "disk") {
		rounds = 100
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	chance := rand.New(rand.NewPCG(seed, 0))
	d, days, finished := newDay(nil), 0, 0
	for round := range rounds {
		driver, err := Open(Options{Root: filepath.Join(disk.at, "storage")})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = driver.Close() }) // if the test ends early
		if !driver.files.hasBarrier() {
			t.Fatal("ext4 has no barrier")
		}
		d.driver = driver
		driver.small = []int{small, 14, 1}[round%3] // what is larger goes through the stage
		d.holds(t)
		if t.Failed() {
			t.Fatalf("in round %d, after %d days", round, days)
		}
		ended, whole := make(chan struct{}), make(chan struct{}, 1)
		go func() {
			defer close(ended)
			for {
				days++
				d.salt = fmt.Sprint(" of day ", days%200)
				if d.run() != nil {
					return
				}
				finished++
				select {
				case whole <- struct{}{}:
				default:
				}
			}
		}()
		if round == 0 {
			select { // however slow the machine is, there is something to lose
			case <-whole:
			case <-ended:
			}
		}
		time.Sleep(time.Duration(chance.IntN(longest*1000)) * time.Microsecond)
		if err := disk.cut(); err != nil {
			t.Fatal(err)
		}
		<-ended
		_ = driver.Close() // the marker cannot be removed
		disk.run("umount", disk.at)
		disk.run("mount", "-o", mountOptions, disk.image, disk.at)
	}
	last, err := Open(Options{Root: filepath.Join(disk.at, "storage")})
	if err != nil {
		t.Fatal(err)
	}
	d.driver = last
	d.holds(t)
	if err := last.Close(); err != nil {
		t.Error(err)
	}
	disk.run("umount", disk.at)
	disk.run("e2fsck", "-f", "-n", disk.image)
	t.Logf("%d promises of %d days, %d of them whole", len(d.promised), days, finished)
	if finished == 0 || len(d.promised) < 10 {
		t.Error("nothing happened")
	}
}

// mountOptions have the disk write nothing out by itself while a slow machine runs
// a test.
const mountOptions = "loop,commit=600"

// TestPowerCutSeen checks that TestPowerCut would see a promise that is not
// kept: what is not synced does not survive the cut.
func TestPowerCutSeen(t *testing.T) {
	disk := newDisk(t, 32<<20)
	f, err := openFiles(disk.at)
	if err != nil {
		t.Fatal(err)
	}
	driver, err := open(lazy{f}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	put(t, driver, "/docker/a/link", "content")
	if err := disk.cut(); err != nil {
		t.Fatal(err)
	}
	_ = driver.Close()
	disk.run("umount", disk.at)
	disk.run("mount", "-o", mountOptions, disk.image, disk.at)
	if _, err := os.Stat(filepath.Join(disk.at, "docker/a/link")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a sync, it is there: %v", err)
	}
}

// lazy is a file system whose syncs do nothing.
type lazy struct{ files }

func (lazy) datasync(file) error  { return nil }
func (lazy) syncDir(string) error { return nil }

func (l lazy) open(name string, flag int) (file, error) {
	f, err := l.files.open(name, flag)
	return lazyFile{f}, err
}

type lazyFile struct{ file }

func (lazyFile) Sync() error { return nil }

// TestFullDisk checks that a disk without room is an error that says so and
// leaves nothing half done, and that there is room again when something is
// deleted.
func TestFullDisk(t *testing.T) {
	disk := newDisk(t, 8<<20)
	d := openLocal(t, disk.at)
	put(t, d, "/docker/there/link", "there")
	w, err := d.Writer(t.Context(), "/docker/a/_uploads/1/data", false)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = w.Write(make([]byte, 1<<16))
	}
	if storage.CodeOf(err) != storage.Full {
		t.Errorf("a write to a full disk: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	err = nil
	for i := 0; err == nil && i < 1000; i++ {
		err = d.PutContent(t.Context(), fmt.Sprintf("/docker/fill/%d/link", i), make([]byte, 5000))
	}
	if storage.CodeOf(err) != storage.Full {
		t.Errorf("content for a full disk: %v", err)
	}
	if err := d.PutContent(t.Context(), "/docker/there/link", make([]byte, 5000)); storage.CodeOf(err) != storage.Full {
		t.Errorf("other content for a full disk: %v", err)
	}
	wantContent(t, d, "/docker/there/link", "there")
	wantNames(t, filepath.Join(disk.at, "docker/there"), "link")
	for _, p := range []string{"/docker/a/_uploads/1", "/docker/fill"} {
		if err := d.Delete(t.Context(), p); err != nil && !isMissing(err) {
			t.Error(err)
		}
	}
	put(t, d, "/docker/there/link", strings.Repeat("x", 5000))
}

// TestReadOnly checks that what cannot be written can be read, and that a write
// is an error.
func TestReadOnly(t *testing.T) {
	disk := newDisk(t, 8<<20)
	first := openLocal(t, disk.at)
	put(t, first, "/docker/link", "content")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	disk.run("mount", "-o", "remount,ro", disk.at)
	d, err := Open(Options{Root: disk.at})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		disk.run("umount", disk.at)
	}()
	wantContent(t, d, "/docker/link", "content")
	put(t, d, "/docker/link", "content") // it is there
	_, writing := d.Writer(t.Context(), "/docker/a/_uploads/1/data", false)
	for what, err := range map[string]error{
		"other content": d.PutContent(t.Context(), "/docker/link", []byte("other")), "new content": d.PutContent(t.Context(), "/docker/new", nil),
		"a deletion": d.Delete(t.Context(), "/docker/link"), "a move": d.Move(t.Context(), "/docker/link", "/docker/b"), "an upload": writing,
	} {
		if !errors.Is(detail(err), syscall.EROFS) {
			t.Errorf("%s: %v", what, err)
		}
	}
	wantContent(t, d, "/docker/link", "content")
}

// TestMountedWithin checks that a folder of the layout that is another file
// system is not left to a barrier of the root's.
func TestMountedWithin(t *testing.T) {
	disk, other := newDisk(t, 8<<20), newDisk(t, 8<<20)
	blobs := filepath.Join(disk.at, "docker/registry/v2/blobs")
	if err := os.MkdirAll(blobs, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, within := range []bool{false, true} {
		if within {
			disk.run("mount", "--bind", other.at, blobs)
			defer disk.run("umount", blobs)
		}
		d, err := Open(Options{Root: disk.at})
		if err != nil {
			t.Fatal(err)
		}
		if has := d.files.hasBarrier(); has == within {
			t.Errorf("another file system within: %t; there is a barrier: %t", within, has)
		}
		w, err := d.Writer(t.Context(), registryTop+"/blobs/data", false)
		if err == nil {
			_, err = io.WriteString(w, "x")
		}
		if err = errors.Join(err, w.Commit(t.Context()), w.Close(), d.Close()); err != nil {
			t.Error(err)
		}
	}
}
