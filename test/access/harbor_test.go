package access

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-oci/berth/test/harness"
)

// wantStatus wants a status of a request and returns the answer.
func wantStatus(t testing.TB, c *harness.Client, status int, method, path string, body any, header ...string) *harness.Answer {
	t.Helper()
	a, err := c.Want(status, method, path, body, header...)
	if err != nil {
		t.Error(err)
	}
	if a == nil {
		a = &harness.Answer{}
	}
	return a
}

// least is what everything that is kept counts at least, in bytes.
const least = 4 << 10

// placed is an image in a repository with so many tags.
type placed struct {
	repository string
	image      harness.Image
	tags       int64
	bare       bool // the manifest without its index
}

// counted is what images of a namespace count together: each blob once, with
// least for every further repository that has it, each manifest and each tag.
func counted(all ...placed) (bytes int64) {
	blobs, manifests := map[string]map[string]bool{}, map[string]bool{}
	manifest := func(repository string, body []byte) {
		if k := repository + harness.Digest(body); !manifests[k] {
			manifests[k] = true
			bytes += max(int64(len(body)), least)
		}
	}
	for _, p := range all {
		bytes += p.tags * least
		manifest(p.repository, p.image.Manifest)
		if !p.bare {
			manifest(p.repository, p.image.Index)
		}
		for _, blob := range p.image.Blobs {
			d := harness.Digest(blob)
			if blobs[d] == nil {
				blobs[d] = map[string]bool{}
				bytes += max(int64(len(blob)), least) - least
			}
			if !blobs[d][p.repository] {
				blobs[d][p.repository] = true
				bytes += least
			}
		}
	}
	return bytes
}

// once is an image in a repository of its own, with a tag.
func once(repository string, image harness.Image) placed { return placed{repository, image, 1, false} }

// uploadsLeft are the uploads that are left in storage.
func uploadsLeft(t testing.TB, b *harness.Berth) (left []string) {
	t.Helper()
	root := filepath.Join(b.Data, "storage")
	err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		// A folder may go away while it is looked at.
		if err == nil && filepath.Base(filepath.Dir(path)) == "_uploads" {
			left = append(left, strings.TrimPrefix(path, root))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return left
}

// figures are used and hard of a namespace.
type figures struct{ used, hard, images int64 }

// askQuota asks GET /v1/users/quotas, of which nothing may be missing.
func askQuota(c *harness.Client) (f figures, id string, err error) {
	a, err := c.Want(http.StatusOK, http.MethodGet, "/v1/users/quotas", nil)
	if err != nil {
		return f, "", err
	}
	type amounts struct {
		ImageStorage *int64 `json:"image_storage_bytes"`
		Images       *int64 `json:"images"`
	}
	var answer struct {
		Status string
		Data   map[string][]struct {
			UUID       string
			Used, Hard *amounts
		}
		OpTime *int64 `json:"op_time_us"`
	}
	if err := json.Unmarshal(a.Body, &answer); err != nil {
		return f, "", err
	}
	all := answer.Data["quotas"]
	if answer.Status != "success" || len(answer.Data) != 1 || len(all) != 1 || answer.OpTime == nil ||
		all[0].Used == nil || all[0].Hard == nil || all[0].Used.ImageStorage == nil || all[0].Used.Images == nil {
		return f, "", fmt.Errorf("quotas: %s", a.Body)
	}
	f.used, f.images = *all[0].Used.ImageStorage, *all[0].Used.Images
	if all[0].Hard.ImageStorage != nil {
		f.hard = *all[0].Hard.ImageStorage
	}
	return f, all[0].UUID, nil
}

// askHarbor asks Harbor's summary of a project.
func askHarbor(c *harness.Client, project string) (f figures, err error) {
	a, err := c.Want(http.StatusOK, http.MethodGet, "/api/v2.0/projects/"+project+"/summary", nil)
	if err != nil {
		return f, err
	}
	var answer struct {
		Quota struct{ Hard, Used struct{ Storage int64 } }
	}
	err = json.Unmarshal(a.Body, &answer)
	return figures{used: answer.Quota.Used.Storage, hard: answer.Quota.Hard.Storage}, err
}
