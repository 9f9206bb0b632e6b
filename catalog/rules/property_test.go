package rules

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"pgregory.net/rapid"

	"github.com/berth-oci/berth/catalog"
)

// drawContents is a repository: what a manifest refers to was there before it.
func drawContents(t *rapid.T) catalog.Contents {
	var c catalog.Contents
	at := func(label string) time.Time {
		return now.Add(-time.Duration(rapid.IntRange(-2, 60).Draw(t, label)) * day)
	}
	n := rapid.IntRange(0, 8).Draw(t, "manifests")
	for i := range n {
		m := catalog.Manifest{Digest: dgst(fmt.Sprint(i)), Pushed: at("pushed")}
		for j := range i {
			if rapid.IntRange(0, 3).Draw(t, "child") == 0 {
				m.Children = append(m.Children, dgst(fmt.Sprint(j)))
			}
		}
		if i > 0 && rapid.IntRange(0, 3).Draw(t, "referrer") == 0 {
			m.Subject = dgst(fmt.Sprint(rapid.IntRange(0, i-1).Draw(t, "subject")))
		}
		c.Manifests = append(c.Manifests, m)
	}
	if n == 0 {
		return c
	}
	names := []string{"latest", "v1", "v2", "v3", "pr-1", "pr-2", "pr-3", "x"}
	for i := range 3 {
		names = append(names, "sha256-"+dgst(fmt.Sprint(i)).Encoded(), "sha256-"+dgst(fmt.Sprint(i)).Encoded()+".sig")
	}
	for _, name := range names {
		if rapid.Bool().Draw(t, name) {
			c.Tags = append(c.Tags, catalog.Tag{Name: name, Digest: c.Manifests[rapid.IntRange(0, n-1).Draw(t, "of")].Digest, Moved: at("moved")})
		}
	}
	return c
}

func drawSet(t *rapid.T) Set {
	pattern := rapid.SampledFrom([]string{"*", "v*", "pr-*", "latest", "v[12]", "sha256-*"})
	s := Set{Name: "r", Untagged: time.Duration(rapid.SampledFrom([]int{0, 10, 30}).Draw(t, "untagged")) * day}
	for range rapid.IntRange(0, 3).Draw(t, "rules") {
		s.Tags = append(s.Tags, TagRule{
			Match:    rapid.SliceOfN(pattern, 0, 2).Draw(t, "match"),
			KeepLast: rapid.IntRange(0, 3).Draw(t, "keep last"), OlderThan: time.Duration(rapid.SampledFrom([]int{0, 10, 30}).Draw(t, "older than")) * day,
		})
	}
	s.Immutable = rapid.SliceOfN(pattern, 0, 1).Draw(t, "immutable")
	return s
}

// after is what is left of a repository.
func after(c catalog.Contents, p Plan) catalog.Contents {
	var left catalog.Contents
	for _, tag := range c.Tags {
		if !slices.ContainsFunc(p.Untag, func(r Removal) bool { return r.Tag == tag.Name }) {
			left.Tags = append(left.Tags, tag)
		}
	}
	for _, m := range c.Manifests {
		if !goes(p, m.Digest) {
			left.Manifests = append(left.Manifests, m)
		}
	}
	return left
}

func goes(p Plan, d digest.Digest) bool {
	return slices.ContainsFunc(p.Delete, func(r Removal) bool { return r.Digest == d })
}

// TestNothingKeptGoes: whatever the rules, what stays keeps what it needs.
func TestNothingKeptGoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, s := drawContents(t), drawSet(t)
		p := s.Plan("alice/app", c, now)
		left := after(c, p)
		if len(left.Tags)+len(p.Untag) != len(c.Tags) || len(left.Manifests)+len(p.Delete) != len(c.Manifests) {
			t.Fatalf("something goes twice, or was not there: %v", p)
		}
		for _, tag := range left.Tags {
			if goes(p, tag.Digest) {
				t.Fatalf("the tag %s stays without its manifest: %v", tag.Name, p)
			}
		}
		for _, m := range left.Manifests {
			for _, child := range m.Children {
				if goes(p, child) {
					t.Fatalf("an index stays without its child: %v", p)
				}
			}
		}
		for i, r := range p.Delete {
			m := c.Manifests[slices.IndexFunc(c.Manifests, func(m catalog.Manifest) bool { return m.Digest == r.Digest })]
			if m.Subject != "" && !goes(p, m.Subject) {
				t.Fatalf("a referrer goes, and its subject stays: %v", p)
			}
			for _, earlier := range p.Delete[:i] {
				if slices.Contains(m.Children, earlier.Digest) {
					t.Fatalf("a child goes before its index: %v", p)
				}
			}
			if r.Rule == "" || r.Reason == "" {
				t.Fatalf("it goes for no reason: %v", r)
			}
		}
		if !s.removes() && !p.Empty() {
			t.Fatalf("it removes without a rule: %v", p)
		}
	})
}

// TestTagsByTheirRule checks each tag against the rule that it falls under, told
// in another way: by counting those that are newer.
func TestTagsByTheirRule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, s := drawContents(t), drawSet(t)
		p := s.Plan("alice/app", c, now)
		ordinary := func(tag catalog.Tag) bool {
			d := digest.Digest(strings.Replace(strings.TrimSuffix(tag.Name, ".sig"), "sha256-", "sha256:", 1))
			return d == tag.Digest || !slices.ContainsFunc(c.Manifests, func(m catalog.Manifest) bool { return m.Digest == d })
		}
		for _, tag := range c.Tags {
			i := slices.IndexFunc(p.Untag, func(r Removal) bool { return r.Tag == tag.Name })
			rule := s.ruleFor(tag.Name)
			switch {
			case fits(s.Immutable, tag.Name):
				if i >= 0 {
					t.Fatalf("the immutable tag %s goes", tag.Name)
				}
				continue
			case !ordinary(tag):
				d := digest.Digest("sha256:" + strings.TrimSuffix(strings.TrimPrefix(tag.Name, "sha256-"), ".sig"))
				if (i >= 0) != goes(p, d) {
					t.Fatalf("the tag %s goes: %v, unlike its image", tag.Name, i >= 0)
				}
				continue
			case rule < 0:
				if i >= 0 {
					t.Fatalf("%s goes by no rule", tag.Name)
				}
				continue
			}
			newer := 0
			for _, other := range c.Tags {
				if other.Name != tag.Name && s.ruleFor(other.Name) == rule && ordinary(other) && !fits(s.Immutable, other.Name) &&
					(other.Moved.After(tag.Moved) || other.Moved.Equal(tag.Moved) && other.Name > tag.Name) {
					newer++
				}
			}
			r := s.Tags[rule]
			want := newer >= r.KeepLast && (r.OlderThan == 0 || now.Sub(tag.Moved) >= r.OlderThan)
			if (i >= 0) != want {
				t.Fatalf("%s goes: %v, with %d that are newer, by %+v", tag.Name, i >= 0, newer, r)
			}
		}
	})
}

// TestUntaggedByAge: what only its age can remove goes exactly when it is old
// enough.
func TestUntaggedByAge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, s := drawContents(t), drawSet(t)
		s.Tags, s.Untagged = nil, max(s.Untagged, day)
		p := s.Plan("alice/app", c, now)
		for _, m := range c.Manifests {
			tagged := slices.ContainsFunc(c.Tags, func(tag catalog.Tag) bool { return tag.Digest == m.Digest })
			below := slices.ContainsFunc(c.Manifests, func(i catalog.Manifest) bool { return slices.Contains(i.Children, m.Digest) })
			if tagged || below || m.Subject != "" {
				continue
			}
			if old := now.Sub(m.Pushed) >= s.Untagged; goes(p, m.Digest) != old {
				t.Fatalf("of %v, it goes: %v", now.Sub(m.Pushed), goes(p, m.Digest))
			}
		}
	})
}

// TestOnceIsEnough: a second run at the same time has nothing to do, and the order
// in which a repository is told does not matter.
func TestOnceIsEnough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, s := drawContents(t), drawSet(t)
		p := s.Plan("alice/app", c, now)
		if again := s.Plan("alice/app", after(c, p), now); !again.Empty() {
			t.Fatalf("after\n%v\nthere is\n%v", p, again)
		}
		shuffled := catalog.Contents{Tags: rapid.Permutation(c.Tags).Draw(t, "tags"), Manifests: rapid.Permutation(c.Manifests).Draw(t, "manifests")}
		other := s.Plan("alice/app", shuffled, now)
		if len(other.Delete) != len(p.Delete) || len(other.Untag) != len(p.Untag) || slices.ContainsFunc(other.Delete, func(r Removal) bool { return !goes(p, r.Digest) }) {
			t.Fatalf("in another order it removes\n%v\nand not\n%v", other, p)
		}
	})
}
