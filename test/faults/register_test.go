package faults

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/berth-oci/berth/test/harness"
)

// A tag that several clients share is a register: each of them may put a digest
// into it, take it out, and read it. Whatever they see must be explained by one
// order of all that they did, in which everything happens between its request
// and its answer (linearizability).

// registerInput is what a client does to a tag.
type registerInput struct {
	do     string // put, delete, or one of registerReads
	digest string // that is put
}

// registerOutput is what it is told.
type registerOutput struct {
	digest  string // that is read, "" for none
	missing bool   // the tag to delete was not there
	unknown bool   // no answer came, or one that does not say what happened
}

// registerReads are the ways to read a tag. What the feed says, which waits until a
// change is durable, may be a moment behind what the others show: by itself it is a
// register all the same.
var registerReads = []string{"lookup", "head", "list", "tags", "feed"}

var registerModel = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		in, out := input.(registerInput), output.(registerOutput)
		switch {
		case in.do == "put":
			return true, in.digest
		case in.do == "delete" && out.unknown:
			return true, ""
		case in.do == "delete":
			return out.missing == (state == ""), ""
		case in.do == "tags": // says only whether the tag is there
			return out.unknown || (out.digest != "") == (state != ""), state
		default:
			return out.unknown || out.digest == state, state
		}
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v → %+v", input, output) },
}

// register is the history of one tag.
type register struct {
	c               *harness.Client
	repository, tag string
	bodies          map[string][]byte // by digest: the indexes that may be put

	mu      sync.Mutex
	history []porcupine.Operation // guarded by mu
	// at is how far the feed has been read, and told what it has said of the tag up to
	// there; both are guarded by mu.
	at, told string
}

// operate does something to the tag and writes down when it began and ended.
func (r *register) operate(client int, in registerInput, begin time.Time) error {
	call := time.Since(begin).Nanoseconds()
	out, err := r.request(in)
	returned := time.Since(begin).Nanoseconds()
	if err != nil {
		// It may still happen at any time.
		out, returned = registerOutput{unknown: true}, math.MaxInt64
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history = append(r.history, porcupine.Operation{ClientId: client, Input: in, Call: call, Output: out, Return: returned})
	return err
}

func (r *register) request(in registerInput) (out registerOutput, err error) {
	switch in.do {
	case "put":
		return out, r.c.PushManifest(r.repository, r.tag, harness.OCIIndex, r.bodies[in.digest])
	case "delete":
		a, err := r.c.Do(http.MethodDelete, "/v2/"+r.repository+"/manifests/"+r.tag, nil)
		if err == nil && a.Status != http.StatusAccepted && a.Status != http.StatusNotFound {
			err = &harness.Refusal{What: "delete " + r.tag, Answer: *a}
		}
		return registerOutput{missing: err == nil && a.Status == http.StatusNotFound}, err
	case "head":
		out.digest, err = r.c.DigestOf(r.repository, r.tag)
		return out, err
	case "tags":
		tags, err := r.c.TagsOf(r.repository)
		if slices.Contains(tags, r.tag) {
			out.digest = "some"
		}
		return out, err
	case "feed":
		out.digest, err = r.feed()
		return out, err
	case "list":
		list, err := r.c.Listed("?namespace="+r.repository, "")
		return registerOutput{digest: r.in(list)}, err
	default:
		list, err := r.c.Listed("", fmt.Sprintf(`{"tag":"%s:%s"}`, r.repository, r.tag))
		return registerOutput{digest: r.in(list)}, err
	}
}

// feed is what the tag points to by what the feed says of it. Each change goes on
// from the one before.
func (r *register) feed() (string, error) {
	r.mu.Lock()
	at, told := r.at, r.told
	r.mu.Unlock()
	a, err := r.c.Want(http.StatusOK, http.MethodGet, "/v1/changes?repository="+r.repository+"&since="+at, nil)
	if err != nil {
		return "", err
	}
	var answer struct {
		Data struct {
			Changes []feedEvent `json:"changes"`
		} `json:"data"`
	}
	if err := json.Unmarshal(a.Body, &answer); err != nil {
		return "", err
	}
	for _, e := range answer.Data.Changes {
		at = e.Revision
		for _, tag := range e.Tags {
			if tag.Name != r.tag {
				continue
			}
			if tag.Previous != told {
				return "", fmt.Errorf("at %s the tag comes from %q, and was at %q", e.Revision, tag.Previous, told)
			}
			told = tag.Digest
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if number(at) > number(r.at) {
		r.at, r.told = at, told
	}
	return told, nil
}

// in finds the tag in a list.
func (r *register) in(list harness.Listed) string {
	for name, tags := range list {
		if slices.Contains(tags, r.repository+":"+r.tag) {
			_, digest, _ := strings.Cut(name, "@")
			return digest
		}
	}
	return ""
}

// linearizable checks the part of the history that has these reads.
func (r *register) linearizable(reads ...string) porcupine.CheckResult {
	var part []porcupine.Operation
	for _, op := range r.history {
		do := op.Input.(registerInput).do
		if !slices.Contains(registerReads, do) || slices.Contains(reads, do) {
			part = append(part, op)
		}
	}
	return porcupine.CheckOperationsTimeout(registerModel, part, 2*time.Minute)
}

// TestSharedTagsAreLinearizable has clients change and read the same tags,
// through both APIs.
func TestSharedTagsAreLinearizable(t *testing.T) {
	t.Parallel()
	for round := range harness.Rounds("linear", 1, 2) {
		t.Run(fmt.Sprint(round), shareTags)
	}
}

func shareTags(t *testing.T) {
	b := harness.Start(t, harness.WithArgs("--log-level", "warn"))
	c := harness.NewClient(b.URL)
	bodies := map[string][]byte{}
	for i := range 4 {
		// Each has a tag of its own, which holds it throughout.
		image := harness.NewImage("k", fmt.Sprint("shared ", i))
		d, err := c.Push("shared/app", fmt.Sprint("holds-", i), image)
		if err != nil {
			t.Fatal(err)
		}
		bodies[d] = image.Index
	}
	digests := slices.Sorted(maps.Keys(bodies))
	start := c.Must(t, http.StatusOK, http.MethodGet, "/v1/images", nil).Header.Get("Berth-Revision")
	var registers []*register
	for i := range 3 {
		registers = append(registers, &register{c: c, repository: "shared/app", tag: fmt.Sprint("tag-", i), bodies: bodies, at: start})
	}
	seed, begin := rand.Uint64(), time.Now()
	t.Logf("seed %d", seed)
	var reading sync.WaitGroup
	const writers, readers, changes = 3, 4, 100
	var writing sync.WaitGroup
	done := make(chan struct{})
	for client := range writers {
		rnd := rand.New(rand.NewPCG(seed, uint64(client)))
		writing.Go(func() {
			for range changes {
				in := registerInput{do: "delete"}
				if rnd.IntN(3) > 0 {
					in = registerInput{do: "put", digest: digests[rnd.IntN(len(digests))]}
				}
				if err := registers[rnd.IntN(len(registers))].operate(client, in, begin); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for client := range readers {
		rnd := rand.New(rand.NewPCG(seed, uint64(writers+client)))
		reading.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				// One tag in several ways, right after each other: what one
				// way has shown, no other may take back.
				r := registers[rnd.IntN(len(registers))]
				for range 4 {
					in := registerInput{do: registerReads[rnd.IntN(len(registerReads))]}
					if err := r.operate(writers+client, in, begin); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	writing.Wait()
	close(done)
	reading.Wait()
	for _, r := range registers {
		for _, reads := range [][]string{{"lookup"}, {"list"}, {"lookup", "list"}, {"head"}, {"tags"}, {"head", "tags"}, {"lookup", "head"}, {"lookup", "tags"}, {"feed"}, registerReads[:4]} {
			if result := r.linearizable(reads...); result != porcupine.Ok {
				t.Errorf("%s, read by %v: no order explains what was seen (%s, %d operations in all)", r.tag, reads, result, len(r.history))
			}
		}
	}
}
