package storagetest

import (
	"errors"
	"slices"
	"strings"
	"testing"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage"
)

var healTests = []test{
	{"right bytes stay", testRightBytes}, {"wrong bytes go to quarantine", testQuarantine}, {"a push heals", testPushHeals},
	{"manifests are checked when they are read", testManifestsChecked}, {"known after a restart", testQuarantineReopened},
}

// flip changes one byte of what is stored under a digest.
func (s *stored) flip(d digest.Digest) (wrong string) {
	s.t.Helper()
	content, err := s.driver.GetContent(s.t.Context(), dataPath(d))
	if err != nil {
		s.t.Fatal(err)
	}
	content[len(content)/2] ^= 1
	s.put(dataPath(d), string(content))
	return string(content)
}

// inQuarantine are the bytes of a digest in quarantine.
func (s *stored) inQuarantine(d digest.Digest) (all []string) {
	s.t.Helper()
	for path, content := range s.files("/berth/quarantine/" + below(d)) {
		if strings.HasSuffix(path, "/data") {
			all = append(all, content)
		}
	}
	return all
}

// pusher is the driver that distribution gets.
func (s *stored) pusher() storagedriver.StorageDriver {
	return s.OpenedParameters()["driver"].(storagedriver.StorageDriver)
}

// push stores bytes as distribution does: only if it finds none.
func (s *stored) push(content string) digest.Digest {
	s.t.Helper()
	d := digest.FromString(content)
	ctx, push := s.BeginPush(s.t.Context(), storage.GuardPut)
	defer push.End()
	_, err := s.pusher().Stat(ctx, dataPath(d))
	if err != nil && !missing(err) {
		s.t.Fatal(err)
	}
	if err == nil {
		return d
	}
	upload := repositories + "a/b/_uploads/" + strings.ToLower(d.Encoded()[:8]) + "/data"
	s.put(upload, content)
	if err := s.pusher().Move(ctx, upload, dataPath(d)); err != nil {
		s.t.Fatal(err)
	}
	return d
}

func (s *stored) wantContent(d digest.Digest, want string) {
	s.t.Helper()
	got, err := s.driver.GetContent(s.t.Context(), dataPath(d))
	if err != nil || string(got) != want {
		s.t.Errorf("stored under %s: %q, %v, want %q", d, got, err, want)
	}
}

func testRightBytes(t *testing.T, s *stored) {
	d := s.push("right")
	for _, by := range []storage.By{storage.ByPush, storage.ByRead, storage.ByScrub, storage.ByFsck} {
		if size, err := s.Examine(t.Context(), d, by); err != nil || size != 5 {
			t.Errorf("%s: %d, %v", by, size, err)
		}
	}
	s.push("right")
	s.wantContent(d, "right")
	if s.Quarantined(d) || len(s.inQuarantine(d)) != 0 {
		t.Error("right bytes are in quarantine")
	}
	_, err := s.Examine(t.Context(), digest.FromString("absent"), storage.ByScrub)
	s.wantError("what is not stored", err, storage.ErrNotFound)
	if errors.Is(err, storage.ErrDamaged) {
		t.Error("what is not stored is damaged")
	}
}

func testQuarantine(t *testing.T, s *stored) {
	d := s.layer("a/b", "a layer")
	var told []storage.Finding
	s.Watch(func(f storage.Finding) { told = append(told, f) })
	wrong := s.flip(d)
	_, err := s.Examine(t.Context(), d, storage.ByScrub)
	s.wantDamaged("examine", err)
	_, err = s.Content().Stat(t.Context(), d)
	s.wantError("stat of what is in quarantine", err, storage.ErrNotFound)
	if !s.Quarantined(d) || !slices.Equal(s.inQuarantine(d), []string{wrong}) {
		t.Errorf("in quarantine: %q, %v", s.inQuarantine(d), s.Quarantined(d))
	}
	if len(told) != 1 || told[0].Digest != d || told[0].Size != 7 || told[0].By != storage.ByScrub || told[0].Reason == "" || !told[0].Healed.IsZero() {
		t.Errorf("told %+v", told)
	}
	if blobs, err := s.Repository("a/b").Blobs(t.Context()); err != nil || len(blobs) != 0 {
		t.Errorf("blobs: %v, %v", blobs, err)
	}
}

func testPushHeals(t *testing.T, s *stored) {
	d := s.push("some bytes of a layer")
	s.put(layerLink("a/b", d), d.String())
	var wrongs []string
	for _, how := range []string{"nobody knew", "a scrub found it"} {
		wrongs = append(wrongs, s.flip(d))
		if how == "a scrub found it" {
			_, err := s.Examine(t.Context(), d, storage.ByScrub)
			s.wantDamaged("examine", err)
		}
		var healed int
		s.Watch(func(f storage.Finding) {
			if !f.Healed.IsZero() {
				healed++
			}
		})
		s.push("some bytes of a layer")
		s.wantContent(d, "some bytes of a layer")
		if healed != 1 || s.Quarantined(d) {
			t.Errorf("%s: told %d times that it is healed, %v", how, healed, s.Quarantined(d))
		}
		if got := s.inQuarantine(d); len(got) != len(wrongs) {
			t.Errorf("%s: in quarantine: %q, want %q", how, got, wrongs)
		}
		if left, err := s.Unhealed(t.Context()); err != nil || len(left) == 0 {
			t.Errorf("%s: forgotten before it was settled: %v, %v", how, left, err)
		}
		if err := s.NoteHealed(t.Context(), d); err != nil {
			t.Error(err)
		}
		if left, err := s.Unhealed(t.Context()); err != nil || len(left) != 0 {
			t.Errorf("%s: settled, and left: %v, %v", how, left, err)
		}
	}
}

func testManifestsChecked(t *testing.T, s *stored) {
	h := s.healthy()
	s.tag("a/b", "long", h.manifestAs)
	s.flip(h.manifest)
	_, _, err := s.Repository("a/b").Manifest(t.Context(), h.manifestAs)
	s.wantDamaged("a manifest", err)
	if !s.Quarantined(h.manifest) {
		t.Error("what was read wrong is still there")
	}
	s.wantManifests("a/b")
	s.wantTags("a/b", map[string]digest.Digest{})
	if _, err := s.pusher().GetContent(t.Context(), dataPath(h.manifest)); !missing(err) {
		t.Errorf("distribution reads it: %v", err)
	}
	s.push("manifest")
	s.wantManifests("a/b", h.manifest)
	s.wantTags("a/b", map[string]digest.Digest{"v1": h.manifest, "long": h.manifestAs})
	// distribution reads by the same rule.
	s.flip(h.manifest)
	if _, err := s.pusher().GetContent(t.Context(), dataPath(h.manifest)); !missing(err) {
		t.Errorf("distribution reads other bytes: %v", err)
	}
}

func testQuarantineReopened(t *testing.T, s *stored) {
	d, other := s.manifest("a/b", "manifest"), s.manifest("a/b", "another")
	s.flip(d)
	_, err := s.Examine(t.Context(), d, storage.ByScrub)
	s.wantDamaged("examine", err)
	if err := s.NoteHolders(t.Context(), d, []string{"a/b"}); err != nil {
		t.Fatal(err)
	}
	again := s.reopened(s.driver)
	manifests, _, err := again.Repository("a/b").Manifests(t.Context())
	if err != nil || !slices.Equal(manifests, []digest.Digest{other}) {
		t.Errorf("after a restart: manifests %v, %v", manifests, err)
	}
	left, err := again.Unhealed(t.Context())
	if err != nil || len(left) != 1 || left[0].Digest != d || !slices.Equal(left[0].Holders, []string{"a/b"}) || !again.Quarantined(d) {
		t.Errorf("after a restart: %+v, %v", left, err)
	}
	// The right bytes came, and a crash before anybody was told.
	s.put(dataPath(d), "manifest")
	third := s.reopened(s.driver)
	left, err = third.Unhealed(t.Context())
	if err != nil || len(left) != 1 || left[0].Healed.IsZero() || third.Quarantined(d) {
		t.Errorf("after a crash: %+v, %v", left, err)
	}
	if err := third.NoteHealed(t.Context(), d); err != nil {
		t.Error(err)
	}
	if left, err := s.reopened(s.driver).Unhealed(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("settled, and left after a restart: %v, %v", left, err)
	}
	// A crash in the middle of moving leaves the wrong bytes where they were.
	s.flip(d)
	fourth := s.reopened(s.driver)
	s.put("/berth/quarantine/"+below(other)+"/20260102T030405Z-ABC/note", "{}")
	if left, err := fourth.Unhealed(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("a note without bytes: %v, %v", left, err)
	}
}
