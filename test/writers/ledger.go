package writers

import (
	"maps"
	"slices"

	"github.com/berth-oci/berth/test/harness"
)

// ledger is what one writer's part of a repository must hold: what was
// acknowledged, by the rules of the images API.
type ledger struct {
	tags map[string]string   // tag → digest
	held map[string][]string // manifest → the manifests that it refers to
}

func newLedger() *ledger { return &ledger{map[string]string{}, map[string][]string{}} }

func (l *ledger) clone() *ledger { return &ledger{maps.Clone(l.tags), maps.Clone(l.held)} }

// put stores a manifest, under a tag unless it is "".
func (l *ledger) put(digest, tag string, children ...string) *ledger {
	after := l.clone()
	after.held[digest] = children
	if tag != "" {
		after.tags[tag] = digest
	}
	return after
}

func (l *ledger) untag(tag string) *ledger {
	after := l.clone()
	delete(after.tags, tag)
	return after
}

// remove deletes a manifest, its tags, and the children that nothing holds.
func (l *ledger) remove(digest string) *ledger {
	after := l.clone()
	children := after.held[digest]
	delete(after.held, digest)
	maps.DeleteFunc(after.tags, func(_, d string) bool { return d == digest })
	for _, child := range children {
		if len(after.tagsOf(child)) == 0 && !after.inIndex(child) {
			delete(after.held, child)
		}
	}
	return after
}

func (l *ledger) tagsOf(digest string) []string {
	tags := []string{}
	for tag, d := range l.tags {
		if d == digest {
			tags = append(tags, tag)
		}
	}
	slices.Sort(tags)
	return tags
}

func (l *ledger) inIndex(digest string) bool {
	for _, children := range l.held {
		if slices.Contains(children, digest) {
			return true
		}
	}
	return false
}

// listed is what the images API must show of it.
func (l *ledger) listed(repository string) harness.Listed {
	listed := harness.Listed{}
	for digest := range l.held {
		if tags := l.tagsOf(digest); len(tags) > 0 || !l.inIndex(digest) {
			for i, tag := range tags {
				tags[i] = repository + ":" + tag
			}
			listed[repository+"@"+digest] = tags
		}
	}
	return listed
}
