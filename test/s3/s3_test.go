package s3

import (
	"bytes"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/harness"
	"github.com/berth-oci/berth/test/writers"
)

// TestImages pushes every fixture into a bucket, lists it and pulls it,
// through berth alone and with redirects, then moves tags and deletes.
func TestImages(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	for _, redirect := range []bool{false, true} {
		t.Run(fmt.Sprintf("redirect=%t", redirect), func(t *testing.T) {
			b := harness.Start(t, s.bucket(fmt.Sprintf("images-%t", redirect), redirect))
			for _, f := range harness.Fixtures {
				repository := "alice/" + f.Name
				if err := harness.PushGGCR(t, b, f.Dir(), f.Tag, repository); err != nil {
					t.Fatal(err)
				}
				harness.WantFixture(t, b, f, repository, f.Tag)
				name, digest := harness.DigestByTag(t, b, repository+":"+f.Tag)
				pulled := t.TempDir()
				if err := harness.PullGGCR(t, b, name, digest, pulled); err != nil {
					t.Fatal(err)
				}
				harness.SameBlobs(t, pulled, f.Dir())
			}
			config := []byte(`{"os":"linux"}`)
			b.PutBlob(t, "bob/app", harness.OCIConfig, config)
			wantBlobFrom(t, b, "bob/app", config, redirect)
			t.Run("changes", func(t *testing.T) { throughChanges(t, b) })
			t.Run("skopeo", func(t *testing.T) { throughSkopeo(t, b) })
		})
	}
}

func throughSkopeo(t *testing.T, b *harness.Berth) {
	harness.Require(t, "skopeo")
	ctx := harness.TestContext(t)
	for _, f := range harness.Fixtures {
		if f.Lies {
			continue // skopeo wants to correct the sizes, and may not
		}
		image := "docker://" + b.Host + "/skopeo/" + f.Name
		harness.RunTool(t, harness.Skopeo(ctx, "--preserve-digests", "--dest-tls-verify=false", "oci:"+f.Dir()+":"+f.Tag, image+":"+f.Tag))
		harness.WantFixture(t, b, f, "skopeo/"+f.Name, f.Tag)
		pulled := t.TempDir()
		harness.RunTool(t, harness.Skopeo(ctx, "--preserve-digests", "--src-tls-verify=false", image+"@"+f.Digest, "oci:"+pulled+":pulled"))
		harness.SameBlobs(t, pulled, f.Dir())
	}
}

// throughChanges moves tags, one of which begins like another, and deletes by tag,
// by digest and a whole index. Each change must show in the next answer.
func throughChanges(t *testing.T, b *harness.Berth) {
	f := harness.FixtureNamed(t, "kraft-hello")
	repository := "alice/kraft-hello"
	index := b.Get(t, "/v2/"+repository+"/manifests/latest", harness.OCIIndex)
	remove := func(reference string) {
		b.Must(t, http.StatusAccepted, http.MethodDelete, "/v2/"+repository+"/manifests/"+reference, nil)
	}
	for _, tag := range []string{"v1", "v10", "v1.0"} {
		b.PutManifest(t, repository, tag, harness.OCIIndex, index)
	}
	harness.WantFixture(t, b, f, repository, "latest", "v1", "v1.0", "v10")
	remove("v1")
	harness.WantFixture(t, b, f, repository, "latest", "v1.0", "v10")
	b.Must(t, http.StatusNotFound, http.MethodDelete, "/v2/"+repository+"/manifests/v1", nil)

	child := f.Platforms[0].Digest
	b.PutManifest(t, repository, "latest", harness.OCIManifest, b.Get(t, "/v2/"+repository+"/manifests/"+child, harness.OCIManifest))
	harness.WantFixture(t, b, f, repository, "v1.0", "v10")
	harness.WantFixture(t, b, f.Child(), repository, "latest")
	remove(f.Digest)
	harness.WantNoImage(t, b, "/v1/images", `{"tag":"`+repository+`:v10"}`)
	harness.WantFixture(t, b, f.Child(), repository, "latest")
	remove(child)
	harness.WantNoImage(t, b, "/v1/images", `{"tag":"`+repository+`"}`)

	// An index goes with what only it holds.
	multi := harness.FixtureNamed(t, "kraft-multi")
	b.Must(t, http.StatusAccepted, http.MethodDelete, "/v2/alice/kraft-multi/manifests/"+multi.Digest, nil)
	for _, gone := range append(multi.Platforms, harness.EntryPlatform{Digest: multi.Digest}) {
		b.Must(t, http.StatusNotFound, http.MethodGet, "/v2/alice/kraft-multi/manifests/"+gone.Digest, nil)
	}
}

// TestRebuild deletes the index and wants the same answers from the one that
// is built from the bucket.
func TestRebuild(t *testing.T) {
	t.Parallel()
	b := harness.Start(t, startServer(t).bucket("images", false))
	queries := harness.PushAllSorts(t, b)
	before := harness.Answers(t, b, queries)
	for _, end := range []func(){b.Stop, b.Kill} {
		end()
		b.Restart()
		harness.SameAnswers(t, "restarted", harness.Answers(t, b, queries), before)
		end()
		harness.RemoveIndex(t, b)
		b.Restart()
		harness.SameAnswers(t, "index deleted", harness.Answers(t, b, queries), before)
	}
}

// TestKilled kills berth in the middle of pushes and deletions. The bucket
// lives on, with whatever had come that far.
func TestKilled(t *testing.T) {
	t.Parallel()
	seed := mathrand.Uint64()
	t.Logf("seed %d", seed)
	rnd := mathrand.New(mathrand.NewPCG(seed, 0))
	b := harness.Start(t, startServer(t).bucket("images", false), harness.WithArgs("--log-level", "warn"))
	crew := writers.NewCrew(b, seed)
	for round := range 5 {
		wait := crew.Work(t)
		time.Sleep(500*time.Millisecond + time.Duration(rnd.IntN(1500))*time.Millisecond)
		b.Kill()
		wait()
		crew.Client.HTTP.CloseIdleConnections()
		b.Restart()
		crew.Verify(t)
		if t.Failed() {
			t.Fatalf("in round %d\n%s", round, b.Log)
		}
	}
	crew.PullBlobs(t, map[string]bool{})
	t.Logf("%d steps", crew.Steps)
	harness.CompareRebuilt(t, b)
}

// TestUploadAcrossRestart finishes uploads that were begun before. Parts of
// less than 5 MiB are kept in another way than larger ones.
func TestUploadAcrossRestart(t *testing.T) {
	t.Parallel()
	b := harness.Start(t, startServer(t).bucket("images", false))
	for _, size := range []int{10, 6 << 20} {
		for _, end := range []func(){b.Stop, b.Kill} {
			first, second := bytes.Repeat([]byte("first"), size/5), []byte("second")
			whole := slices.Concat(first, second)
			location := b.Begin(t, "alice/app")
			location = b.Location(t, b.Must(t, http.StatusAccepted, http.MethodPatch, location.String(), bytes.NewReader(first), "Content-Type", "application/octet-stream"))
			end()
			b.Restart()
			digest := harness.Digest(whole)
			b.Must(t, http.StatusCreated, http.MethodPut, harness.WithDigest(location, digest), bytes.NewReader(second), "Content-Type", "application/octet-stream")
			if got := b.Get(t, "/v2/alice/app/blobs/"+digest, ""); !bytes.Equal(got, whole) {
				t.Errorf("the upload gave %d bytes, want %d", len(got), len(whole))
			}
			b.Must(t, http.StatusAccepted, http.MethodDelete, "/v2/alice/app/blobs/"+digest, nil)
		}
	}
}

// TestConformance runs the specification's suite against berth on a bucket,
// open and with accounts.
func TestConformance(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	for _, c := range []struct {
		name, version string
		atLeast       int
		closed        bool
	}{
		{"v1-open", "1.1", 840, false},
		{"v1-accounts", "1.1", 840, true},
		{"dev-open", "dev", 1000, false},
		{"dev-accounts", "dev", 1000, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			options := []harness.Option{s.bucket(c.name, false)}
			var settings []string
			if c.version == "dev" {
				options = append(options, harness.WithEnv("BERTH_REGISTRY_MISSING_LAYERS=true"))
				settings = harness.ConformanceExtras
			}
			b := harness.Start(t, options...)
			if c.closed {
				settings = append([]string{"OCI_USERNAME=conformance", "OCI_PASSWORD=" + harness.AddAccount(t, b, "conformance").Secret}, settings...)
			}
			harness.Conformance(t, b, c.version, c.atLeast, settings...)
		})
	}
	// The bytes then come from the bucket, without the digest that some clients
	// want in their headers, and with the server's own view of wrong ranges.
	t.Run("redirects", func(t *testing.T) {
		b := harness.Start(t, s.bucket("redirects", true))
		r := harness.RunConformance(t, b, "1.1", "OCI_USERNAME=conformance", "OCI_PASSWORD="+harness.AddAccount(t, b, "conformance").Secret)
		ranges := bytes.Count(r.Output, []byte("/range 500-0: Skip"))
		if r.Tests < 840 || r.Errors+r.Failures > 0 || r.Skipped > ranges {
			t.Errorf("%s, of which %d are ranges that end before they begin\n%s", r, ranges, r.Output)
		}
	})
}
