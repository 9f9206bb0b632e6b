package storage

import "testing"

// TestHashStates checks which states of an upload's hash are written: those that
// a later request goes on from.
func TestHashStates(t *testing.T) {
	const upload = repositories + "/a/b/_uploads/5e4d1b1c"
	for _, test := range []struct {
		path              string
		written, finished bool // written before, and after the end of the upload
	}{
		{upload + "/hashstates/sha256/0", false, false},
		{upload + "/hashstates/sha256/10", true, false},
		{upload + "/hashstates/sha512/7", true, false},
		{upload + "/startedat", true, true},
		{upload + "/other/sha256/0", true, true},
		{repositories + "/a/hashstates/sha256/0", true, true},
		{root + "/blobs/_uploads/5e4d1b1c/hashstates/sha256/0", true, true},
	} {
		s := stores(t)["inmemory"]
		d := pushDriver{s.driver, s}
		for finished, want := range map[bool]bool{false: test.written, true: test.finished} {
			ctx := Uploading(t.Context())
			if finished {
				Finishing(ctx)
			}
			if err := d.PutContent(ctx, test.path, []byte("state")); err != nil {
				t.Fatal(err)
			}
			there, err := s.isFile(t.Context(), test.path)
			if err != nil || there != want {
				t.Errorf("%s, finished %v: written %v (%v), want %v", test.path, finished, there, err, want)
			}
			if err := s.driver.Delete(t.Context(), test.path); err != nil && !notFound(err) {
				t.Fatal(err)
			}
		}
	}
	Finishing(t.Context()) // of no upload: says nothing
	if isFinishing(t.Context()) {
		t.Error("what is no upload has finished")
	}
}
