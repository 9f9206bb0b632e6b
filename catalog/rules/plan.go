package rules

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/catalog"
)

// Plan is what the rules remove from a repository.
type Plan struct {
	// Untag are the tags that go, by name.
	Untag []Removal
	// Delete are the manifests that go, each before what it refers to.
	Delete []Removal
}

// Removal is a tag or manifest that a rule removes.
type Removal struct {
	Repository string `json:"repository"`
	// Tag is "" for a manifest; Digest is what it points to, or the manifest's.
	Tag    string        `json:"tag,omitempty"`
	Digest digest.Digest `json:"digest"`
	// Rule is where the rule is configured: rules.default.tags[0].
	Rule string `json:"rule"`
	// Reason is why, for people.
	Reason string `json:"reason"`
}

// Empty reports whether nothing goes.
func (p Plan) Empty() bool { return len(p.Untag)+len(p.Delete) == 0 }

// Plan chooses what goes of a repository.
func (s Set) Plan(repository string, c catalog.Contents, now time.Time) Plan {
	if !s.removes() {
		return Plan{}
	}
	p := newPlanner(s, repository, c, now)
	p.tags(c.Tags)
	p.manifests(c.Manifests)
	slices.SortFunc(p.plan.Untag, func(a, b Removal) int { return strings.Compare(a.Tag, b.Tag) })
	return p.plan
}

type planner struct {
	set        Set
	repository string
	now        time.Time
	plan       Plan

	there     map[digest.Digest]catalog.Manifest
	parents   map[digest.Digest][]digest.Digest
	referrers map[digest.Digest][]digest.Digest
	// attached are tags by the digest of another image that is there, by that
	// digest; stay is how many tags a manifest keeps, lost the last one that went.
	attached map[digest.Digest][]catalog.Tag
	stay     map[digest.Digest]int
	lost     map[digest.Digest]Removal
	gone     map[digest.Digest]Removal
}

func newPlanner(s Set, repository string, c catalog.Contents, now time.Time) *planner {
	p := &planner{
		set: s, repository: repository, now: now,
		there: make(map[digest.Digest]catalog.Manifest, len(c.Manifests)), parents: make(map[digest.Digest][]digest.Digest),
		referrers: make(map[digest.Digest][]digest.Digest), attached: make(map[digest.Digest][]catalog.Tag),
		stay: make(map[digest.Digest]int), lost: make(map[digest.Digest]Removal), gone: make(map[digest.Digest]Removal),
	}
	for _, m := range c.Manifests {
		p.there[m.Digest] = m
	}
	for _, m := range c.Manifests {
		for _, child := range m.Children {
			p.parents[child] = append(p.parents[child], m.Digest)
		}
		if _, ok := p.there[m.Subject]; ok {
			p.referrers[m.Subject] = append(p.referrers[m.Subject], m.Digest)
		}
	}
	for _, t := range c.Tags {
		p.stay[t.Digest]++
		if subject, ok := p.subjectOf(t); ok {
			p.attached[subject] = append(p.attached[subject], t)
		}
	}
	return p
}

// byDigest are tags that belong to an image: those of the referrers tag schema,
// and of cosign's signatures.
var byDigest = regexp.MustCompile(`^sha256-([0-9a-f]{64})(\.(sig|att|sbom))?$`)

// subjectOf returns the image to which a tag belongs by its name, if that is
// there and is not what it points to.
func (p *planner) subjectOf(t catalog.Tag) (digest.Digest, bool) {
	found := byDigest.FindStringSubmatch(t.Name)
	if found == nil {
		return "", false
	}
	subject := digest.NewDigestFromEncoded(digest.SHA256, found[1])
	_, there := p.there[subject]
	return subject, there && subject != t.Digest
}

// tags applies the rules for tags.
func (p *planner) tags(all []catalog.Tag) {
	groups := make([][]catalog.Tag, len(p.set.Tags))
	for _, t := range all {
		if _, attached := p.subjectOf(t); attached || p.set.immutable(t.Name) {
			continue
		}
		if i := p.set.ruleFor(t.Name); i >= 0 {
			groups[i] = append(groups[i], t)
		}
	}
	for i, group := range groups {
		slices.SortFunc(group, func(a, b catalog.Tag) int { // newest first
			return cmp.Or(b.Moved.Compare(a.Moved), strings.Compare(b.Name, a.Name))
		})
		rule := p.set.Tags[i]
		for _, t := range group[min(rule.KeepLast, len(group)):] {
			if t.Moved.IsZero() || rule.OlderThan > 0 && p.now.Sub(t.Moved) < rule.OlderThan {
				continue
			}
			var why []string
			if rule.KeepLast > 0 {
				why = append(why, fmt.Sprintf("not among the last %d", rule.KeepLast))
			}
			if rule.OlderThan > 0 {
				why = append(why, "set "+age(t.Moved, rule.OlderThan))
			}
			p.untag(t, fmt.Sprintf("%s.tags[%d]", p.set.Name, i), strings.Join(why, ", "))
		}
	}
}

func age(at time.Time, limit time.Duration) string {
	return fmt.Sprintf("%s, more than %s ago", at.UTC().Format(time.RFC3339), Age(limit))
}

func (p *planner) untag(t catalog.Tag, rule, reason string) {
	r := Removal{Repository: p.repository, Tag: t.Name, Digest: t.Digest, Rule: rule, Reason: reason}
	p.plan.Untag = append(p.plan.Untag, r)
	p.stay[t.Digest]--
	p.lost[t.Digest] = r
}

// manifests removes what nothing keeps: what has lost its last tag, what is
// untagged for too long, and whatever that leaves behind.
func (p *planner) manifests(all []catalog.Manifest) {
	next := make([]digest.Digest, 0, len(all))
	for _, m := range all {
		next = append(next, m.Digest)
	}
	for ; len(next) > 0; next = next[1:] {
		d := next[0]
		_, gone := p.gone[d]
		m, there := p.there[d]
		if gone || !there || p.kept(m) {
			continue
		}
		rule, reason := p.cause(m)
		if rule == "" {
			continue
		}
		p.gone[d] = Removal{Repository: p.repository, Digest: d, Rule: rule, Reason: reason}
		p.plan.Delete = append(p.plan.Delete, p.gone[d])
		for _, t := range p.attached[d] {
			if !p.set.immutable(t.Name) {
				p.untag(t, rule, "belongs to "+d.String())
				next = append(next, t.Digest)
			}
		}
		next = append(append(next, m.Children...), p.referrers[d]...)
	}
}

// kept reports whether something that stays needs a manifest.
func (p *planner) kept(m catalog.Manifest) bool {
	stays := func(d digest.Digest) bool {
		_, there := p.there[d]
		_, gone := p.gone[d]
		return there && !gone
	}
	return p.stay[m.Digest] > 0 || stays(m.Subject) || slices.ContainsFunc(p.parents[m.Digest], stays)
}

// cause returns the rule by which a manifest goes that nothing keeps, or "".
func (p *planner) cause(m catalog.Manifest) (rule, reason string) {
	if lost, ok := p.lost[m.Digest]; ok {
		return lost.Rule, "its last tag is removed"
	}
	if subject, ok := p.gone[m.Subject]; ok {
		return subject.Rule, "refers to " + m.Subject.String()
	}
	if m.Pushed.IsZero() {
		return "", ""
	}
	for _, d := range p.parents[m.Digest] {
		// One that was pushed again is there for something that is still to come.
		if parent := p.there[d]; !m.Pushed.After(parent.Pushed) {
			return p.gone[d].Rule, "is below " + d.String()
		}
	}
	if p.set.Untagged > 0 && p.now.Sub(m.Pushed) >= p.set.Untagged {
		return p.set.Name + ".untagged", "without a tag since " + age(m.Pushed, p.set.Untagged)
	}
	return "", ""
}

// Age writes a duration in days if it is a whole number of them.
func Age(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
