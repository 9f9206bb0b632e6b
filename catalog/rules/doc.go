// Package rules removes images by rules: untagged ones by age, and tags by
// pattern, number and age. It also says which tags are immutable.
//
// [Set.Plan] chooses what goes. It is a pure function of what a repository holds,
// the rules and the time, so a dry run chooses what a run does. [Run] removes it,
// by a change of the catalog like any client's: with the repository taken, and what
// it holds read again.
//
// # What goes
//
// A rule for tags looks at the tags that fit its patterns; of several rules that
// fit a tag, only the first does. It removes those that are not among the last N,
// by when they were last pushed or moved, and that are as old as it says; with only
// one of the two, that one alone decides. An image whose last tag a rule removes
// goes with it.
//
// The rule for untagged images removes a manifest without a tag once it is as old
// as the rule says: since its last push, or since it lost a tag, whichever came
// later. Creation times in configs mean nothing.
//
// With an image goes what was only there for it: the manifests below an index,
// unless they were pushed again after the index; and its referrers (signatures,
// SBOMs), also if they are tagged by its digest (sha256-<hex>, with or without
// .sig, .att or .sbom behind).
//
// # What stays
//
// A manifest stays as long as it has a tag, or is below an index that stays, or
// its subject stays. An immutable tag stays in any case, and does not count among
// the last N; neither do tags by the digest of an image that is there.
package rules
