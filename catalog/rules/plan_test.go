package rules

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog"
)

const day = 24 * time.Hour

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// repo builds what a repository holds, by short names.
type repo struct{ catalog.Contents }

func dgst(name string) digest.Digest { return digest.FromString(name) }

func (r *repo) tag(name, of string, days float64) *repo {
	r.Tags = append(r.Tags, catalog.Tag{Name: name, Digest: dgst(of), Moved: now.Add(-time.Duration(days * float64(day)))})
	return r
}

func (r *repo) manifest(name string, days float64, children ...string) *repo {
	m := catalog.Manifest{Digest: dgst(name), Pushed: now.Add(-time.Duration(days * float64(day)))}
	for _, c := range children {
		m.Children = append(m.Children, dgst(c))
	}
	r.Manifests = append(r.Manifests, m)
	return r
}

func (r *repo) subject(of, subject string) *repo {
	for i := range r.Manifests {
		if r.Manifests[i].Digest == dgst(of) {
			r.Manifests[i].Subject = dgst(subject)
		}
	}
	return r
}

// brief is a plan by short names: tags, then digests.
func brief(p Plan, names ...string) string {
	var all []string
	for _, r := range p.Untag {
		all = append(all, ":"+r.Tag)
	}
	for _, r := range p.Delete {
		name := slices.IndexFunc(names, func(n string) bool { return dgst(n) == r.Digest })
		all = append(all, names[name])
	}
	return strings.Join(all, " ")
}

func TestPlan(t *testing.T) {
	untagged := Set{Name: "r", Untagged: 30 * day}
	last := func(n int, match ...string) Set { return Set{Name: "r", Tags: []TagRule{{Match: match, KeepLast: n}}} }
	older := Set{Name: "r", Tags: []TagRule{{OlderThan: 30 * day}}}
	multi := func() *repo {
		return new(repo).manifest("a", 50).manifest("b", 50).manifest("i", 49, "a", "b")
	}
	sig := "sha256-" + dgst("a").Encoded() + ".sig"
	for name, c := range map[string]struct {
		set  Set
		repo *repo
		want string
	}{
		"no rules":                              {Set{}, multi(), ""},
		"untagged and old":                      {untagged, new(repo).manifest("a", 31), "a"},
		"untagged, and as old as it says":       {untagged, new(repo).manifest("a", 30), "a"},
		"untagged and fresh":                    {untagged, new(repo).manifest("a", 29), ""},
		"from the future":                       {untagged, new(repo).manifest("a", -1), ""},
		"tagged and old":                        {untagged, new(repo).manifest("a", 99).tag("v1", "a", 99), ""},
		"an index with what is below it":        {untagged, multi(), "i a b"},
		"a child that was pushed again":         {untagged, new(repo).manifest("a", 1).manifest("b", 50).manifest("i", 49, "a", "b"), "i b"},
		"a child with a tag":                    {untagged, multi().tag("v1", "a", 99), "i b"},
		"children of a tagged index":            {untagged, multi().tag("v1", "i", 99), ""},
		"a child that another index keeps":      {untagged, multi().manifest("j", 1, "a"), "i b"},
		"a child of an index that is not there": {untagged, new(repo).manifest("a", 31), "a"},
		"nested":                                {untagged, multi().manifest("j", 48, "i"), "j i a b"},
		"nested below a tag":                    {untagged, multi().manifest("j", 48, "i").tag("v1", "j", 1), ""},
		"a referrer whose subject stays":        {untagged, new(repo).manifest("a", 99).tag("v1", "a", 1).manifest("s", 99).subject("s", "a"), ""},
		"a referrer of a child that stays":      {untagged, multi().tag("v1", "i", 1).manifest("s", 99).subject("s", "a"), ""},
		"a referrer goes with its subject":      {untagged, new(repo).manifest("a", 99).manifest("s", 1).subject("s", "a"), "a s"},
		"a referrer of a referrer":              {untagged, new(repo).manifest("t", 1).manifest("a", 99).manifest("s", 1).subject("s", "a").subject("t", "s"), "a s t"},
		"a tagged referrer of what goes":        {untagged, new(repo).manifest("a", 99).manifest("s", 99).subject("s", "a").tag("sig", "s", 99), "a"},
		"a referrer whose subject never came":   {untagged, new(repo).manifest("s", 99).subject("s", "a"), "s"},
		"and is fresh":                          {untagged, new(repo).manifest("s", 1).subject("s", "a"), ""},

		"more than the last":             {last(1), new(repo).manifest("a", 0).manifest("b", 0).tag("v1", "a", 2).tag("v2", "b", 1), ":v1 a"},
		"the last by time, not name":     {last(1), new(repo).manifest("a", 0).manifest("b", 0).tag("v2", "a", 2).tag("v1", "b", 1), ":v2 a"},
		"of the same time by name":       {last(1), new(repo).manifest("a", 0).manifest("b", 0).tag("v1", "a", 1).tag("v2", "b", 1), ":v1 a"},
		"another tag keeps the image":    {last(1), new(repo).manifest("a", 99).tag("v1", "a", 2).tag("v2", "a", 1), ":v1"},
		"fewer than the last":            {last(3), new(repo).manifest("a", 99).tag("v1", "a", 99), ""},
		"only what fits counts":          {last(1, "v*"), new(repo).manifest("a", 9).tag("v1", "a", 9).tag("latest", "a", 1), ""},
		"only what fits goes":            {last(1, "v*"), new(repo).manifest("a", 9).manifest("b", 9).tag("x", "a", 9).tag("v1", "a", 8).tag("v2", "b", 7), ":v1"},
		"old tags":                       {older, new(repo).manifest("a", 99).manifest("b", 99).tag("v1", "a", 31).tag("v2", "b", 29), ":v1 a"},
		"an old image on a fresh tag":    {older, new(repo).manifest("a", 99).tag("v1", "a", 1), ""},
		"an index that loses its tag":    {older, multi().tag("v1", "i", 31), ":v1 i a b"},
		"a child that loses its tag":     {older, multi().tag("v1", "i", 1).tag("a", "a", 31), ":a"},
		"a referrer that loses its tag":  {older, new(repo).manifest("a", 9).tag("v1", "a", 1).manifest("s", 9).subject("s", "a").tag("s", "s", 31), ":s"},
		"a signature by tag":             {older, new(repo).manifest("a", 9).tag("v1", "a", 1).manifest("s", 9).tag(sig, "s", 31), ""},
		"goes with what it is named for": {older, new(repo).manifest("a", 9).tag("v1", "a", 31).manifest("s", 9).tag(sig, "s", 1), ":" + sig + " :v1 a s"},
		"named for nothing that is here": {older, new(repo).manifest("s", 9).tag(sig, "s", 31), ":" + sig + " s"},
		"signatures do not count":        {last(1), new(repo).manifest("a", 9).tag("v1", "a", 2).manifest("s", 9).tag(sig, "s", 1), ""},
		"number and age, old": {Set{Tags: []TagRule{{KeepLast: 1, OlderThan: 30 * day}}},
			new(repo).manifest("a", 9).tag("v1", "a", 99).tag("v2", "a", 98).tag("v3", "a", 97), ":v1 :v2"},
		"number and age, fresh": {Set{Tags: []TagRule{{KeepLast: 1, OlderThan: 30 * day}}},
			new(repo).manifest("a", 9).tag("v1", "a", 29).tag("v2", "a", 28), ""},
		"the first rule that fits": {Set{Tags: []TagRule{{Match: []string{"v1"}, KeepLast: 1}, {OlderThan: day}}},
			new(repo).manifest("a", 9).tag("v1", "a", 99).tag("v2", "a", 98), ":v2"},
		"immutable": {Set{Tags: []TagRule{{KeepLast: 1}}, Immutable: []string{"v*"}},
			new(repo).manifest("a", 9).tag("v1", "a", 99).tag("x", "a", 98).tag("v2", "a", 97), ""},
		"an immutable tag keeps what is below": {Set{Untagged: day, Tags: []TagRule{{OlderThan: day}}, Immutable: []string{"v*"}},
			multi().tag("v1", "i", 99).tag("x", "i", 99), ":x"},
		"both kinds of rules": {Set{Untagged: 30 * day, Tags: []TagRule{{OlderThan: 10 * day}}},
			new(repo).manifest("a", 9).manifest("b", 31).tag("v1", "a", 11), ":v1 a b"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := brief(c.set.Plan("alice/app", c.repo.Contents, now), "a", "b", "i", "j", "s", "t"); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestUnknownTimes: what has no time is not old.
func TestUnknownTimes(t *testing.T) {
	r := new(repo).manifest("a", 99).manifest("b", 99, "a").tag("v1", "a", 99)
	r.Manifests[0].Pushed, r.Manifests[1].Pushed, r.Tags[0].Moved = time.Time{}, time.Time{}, time.Time{}
	set := Set{Untagged: day, Tags: []TagRule{{OlderThan: day}, {KeepLast: 0}}}
	if p := set.Plan("alice/app", r.Contents, now); !p.Empty() {
		t.Errorf("it removes %v", p)
	}
}

func TestReasons(t *testing.T) {
	r := new(repo).manifest("a", 99).manifest("b", 99).tag("v1", "a", 31).tag("v2", "b", 1)
	set := Set{Name: "rules.default", Tags: []TagRule{{KeepLast: 1, OlderThan: 30 * day}}}
	p := set.Plan("alice/app", r.Contents, now)
	want := Removal{Repository: "alice/app", Tag: "v1", Digest: dgst("a"), Rule: "rules.default.tags[0]",
		Reason: "not among the last 1, set 2026-03-31T12:00:00Z, more than 30d ago"}
	if len(p.Untag) != 1 || p.Untag[0] != want {
		t.Errorf("got %+v, want %+v", p.Untag, want)
	}
	want.Tag, want.Reason = "", "its last tag is removed"
	if len(p.Delete) != 1 || p.Delete[0] != want {
		t.Errorf("got %+v, want %+v", p.Delete, want)
	}
	for d, text := range map[time.Duration]string{30 * day: "30d", 36 * time.Hour: "36h", 90 * time.Second: "1m30s", 10 * time.Second: "10s", time.Minute: "1m"} {
		if Age(d) != text {
			t.Errorf("%v is written %q, want %q", d, Age(d), text)
		}
	}
}

func TestPolicy(t *testing.T) {
	p := Policy{Default: Set{Immutable: []string{"v[0-9]*"}}, Namespaces: map[string]Set{"alice": {}}}
	for _, c := range []struct {
		repository, tag string
		want            bool
	}{{"bob/app", "v1", true}, {"bob/deep/app", "v1.2", true}, {"bob/app", "vx", false}, {"alice/app", "v1", false}} {
		if got := p.Immutable(c.repository, c.tag); got != c.want {
			t.Errorf("%s:%s is immutable: %v", c.repository, c.tag, got)
		}
	}
	if p.Any() || !(Policy{Namespaces: map[string]Set{"a": {Untagged: 1}}}).Any() {
		t.Error("it does not know whether it removes anything")
	}
}
