package faults

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
)

// injected has system calls of a berth fail while fn runs, and returns how many
// did.
func injected(t *testing.T, b *harness.Berth, calls, errno string, fn func()) (failed int) {
	t.Helper()
	trace := attached(t, b, func(to string) *exec.Cmd {
		return exec.Command("strace", "-f", "-o", to, "-e", "trace="+calls, "-e", "inject="+calls+":error="+errno, "-p", strconv.Itoa(b.Cmd.Process.Pid))
	}, fn)
	return strings.Count(trace, "(INJECTED)")
}

// wellRefused wants an answer to what cannot be written: 503 or 507, in the form of
// the specification.
func wellRefused(err error) error {
	var refused *harness.Refusal
	if !errors.As(err, &refused) {
		return err
	}
	var body struct {
		Errors []struct{ Code, Message string }
	}
	wrong := json.Unmarshal(refused.Body, &body)
	passing := refused.Status == http.StatusServiceUnavailable || refused.Status == http.StatusInsufficientStorage
	if !passing || wrong != nil || len(body.Errors) != 1 || body.Errors[0].Code != "UNAVAILABLE" {
		return fmt.Errorf("it is answered %d %s", refused.Status, refused.Body)
	}
	return nil
}

// leftovers are files that a request has written and that belong to nothing.
func leftovers(t *testing.T, b *harness.Berth) (found []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(b.Data, "storage"), func(p string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone meanwhile
		}
		name := filepath.Base(p)
		if strings.HasPrefix(name, ".berth-") && strings.HasSuffix(name, ".tmp") || filepath.Base(filepath.Dir(p)) == "_uploads" {
			found = append(found, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestFailingCalls has each kind of system call that writes fail, of a disk that is
// broken and of one that is full: every write is refused as such, or happens; what
// is read stays; nothing is left behind; and once the calls succeed everything works
// again without a restart, and is whole.
func TestFailingCalls(t *testing.T) {
	harness.Long(t, "strace", "many berths are traced, and each has to come back")
	t.Parallel()
	for _, calls := range []string{"fdatasync,fsync,syncfs", "pwrite64", "renameat,renameat2", "mkdirat"} {
		for _, errno := range []string{"EIO", "ENOSPC"} {
			t.Run(calls+" "+errno, func(t *testing.T) {
				t.Parallel()
				failingCalls(t, calls, errno)
			})
		}
	}
}

func failingCalls(t *testing.T, calls, errno string) {
	b := harness.Start(t)
	images := map[string]harness.Image{}
	for _, tag := range []string{"kept", "moved", "untagged", "deleted"} {
		images[tag] = harness.NewImage("k", tag)
		if _, err := b.Push("alice/app", tag, images[tag]); err != nil {
			t.Fatal(err)
		}
	}
	reads := func() string { return string(b.Get(t, "/v2/alice/app/manifests/kept", harness.OCIIndex)) }
	kept, refused := reads(), 0
	failed := injected(t, b, calls, errno, func() {
		for what, request := range map[string]func() error{
			"a push": func() error { _, err := b.Push("alice/new", "v1", harness.NewImage("k", "new")); return err },
			"a blob": func() error { return b.PushBlob("alice/app", []byte(calls+errno)) },
			"a re-tag": func() error {
				return b.PushManifest("alice/app", "moved", harness.OCIIndex, images["kept"].Index)
			},
			"an untag": func() error {
				_, err := b.Want(http.StatusAccepted, http.MethodDelete, "/v2/alice/app/manifests/untagged", nil)
				return err
			},
			"a deletion": func() error {
				_, err := b.Want(http.StatusAccepted, http.MethodDelete, "/v2/alice/app/manifests/"+harness.Digest(images["deleted"].Index), nil)
				return err
			},
		} {
			err := request()
			if err != nil {
				refused++
			}
			if err := wellRefused(err); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			if got := reads(); got != kept {
				t.Errorf("after %s, kept is %s", what, got)
			}
		}
	})
	t.Logf("%d calls have failed, %d requests were refused", failed, refused)
	if refused > 0 && failed == 0 {
		t.Error("requests were refused, and nothing has failed")
	}
	harness.Eventually(t, "pushes do not work again", func() bool {
		_, err := b.Push("alice/app", "after", harness.NewImage("k", "after"))
		return err == nil
	})
	for deadline := time.Now().Add(20 * time.Second); len(leftovers(t, b)) > 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("left behind are %q", leftovers(t, b))
			break
		}
	}
	for tag, allowed := range map[string][]string{
		"kept": {"kept"}, "moved": {"moved", "kept"}, "untagged": {"untagged", ""}, "deleted": {"deleted", ""},
	} {
		got, err := b.DigestOf("alice/app", tag)
		if !slices.ContainsFunc(allowed, func(name string) bool {
			return name == "" && err == nil && got == "" || name != "" && got == harness.Digest(images[name].Index)
		}) {
			t.Errorf("%s is %s, %v", tag, got, err)
		}
	}
	if stdout, stderr, code := harness.CommandLine(t, nil, "fsck", "--deep", "--data", b.Data); code != 0 {
		t.Errorf("fsck exits with %d: %s%s", code, stdout, stderr)
	}
	harness.CompareRebuilt(t, b)
}
