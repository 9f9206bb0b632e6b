package storagetest

import (
	"errors"
	"maps"
	"testing"

	"github.com/berth-oci/berth/storage"
)

var uploadTests = []test{{"unfinished", testUploads}}

// testUploads finds the uploads that are not finished, with what came of them, in
// repositories that have nothing else as well.
func testUploads(t *testing.T, s *stored) {
	ctx := t.Context()
	want := map[storage.OpenUpload]bool{}
	for repository, uploads := range map[string]map[string]int{
		"alice/app": {"one": 10, "none": 0}, "alice/app/below": {"two": 20}, "bob/empty": {},
	} {
		if err := s.driver.PutContent(ctx, repositories+repository+"/_layers/sha256/x/link", []byte("x")); err != nil {
			t.Fatal(err)
		}
		for id, size := range uploads {
			folder := repositories + repository + "/_uploads/" + id
			if err := s.driver.PutContent(ctx, folder+"/startedat", []byte("2026-01-02T03:04:05Z")); err != nil {
				t.Fatal(err)
			}
			if size > 0 { // some drivers show it only in the end
				if err := s.driver.PutContent(ctx, folder+"/data", make([]byte, size)); err != nil {
					t.Fatal(err)
				}
			}
			want[storage.OpenUpload{Upload: storage.Upload{Repository: repository, ID: id}, Bytes: int64(size)}] = true
		}
	}
	alone := storage.OpenUpload{Upload: storage.Upload{Repository: "carol/new", ID: "three"}, Bytes: 30}
	want[alone] = true
	if err := s.driver.PutContent(ctx, repositories+"carol/new/_uploads/three/data", make([]byte, 30)); err != nil {
		t.Fatal(err)
	}
	got := map[storage.OpenUpload]bool{}
	err := s.Uploads(ctx, func(u storage.OpenUpload) error {
		got[u] = true
		return nil
	})
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("uploads: %v, %v; want %v", got, err, want)
	}
	boom := errors.New("boom")
	if err := s.Uploads(ctx, func(storage.OpenUpload) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("an error in the middle is %v", err)
	}
	if err := s.RemoveUpload(ctx, alone.Repository, alone.ID); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"three", "four"} {
		if _, err := s.Upload(ctx, storage.Upload{Repository: "carol/new", ID: id}); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("an upload that is not there: %v", err)
		}
	}
}
