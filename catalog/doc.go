// Package catalog is the one owner of what a repository holds: every change
// goes through it, from lock to revision, and every answer comes from it.
//
// Storage is the truth and the index a view of it. A change of a repository's
// manifests, tags or links is a [Tx]: it takes the repository's lease, notes in
// the index what is about to happen, touches storage, and publishes what has
// happened. Where storage makes changes all at once, the put of a manifest is noted
// there, with what it changes, which saves the index a transaction. Only a Tx calls
// Prepare and Publish of the index. Blobs that come are linked side by side
// ([Catalog.Link]).
//
// Answers are those of the index ([index.Reader]): what was last published. They
// neither lock nor repair. Where a change ends without being published (the
// index cannot be written, storage fails half-way, the process dies), answers
// stay what they were, and the change is completed by the next change of its
// repository, by a task in the background, or after the next start, whichever
// comes first (see settle.go). The exception are changes that are too much for
// one write transaction, since everybody waits for those: descriptions of what
// refers to a manifest follow in steps, and a deletion of hundreds of manifests
// takes the tags first, and then the manifests (see work.go).
//
// Every change has a record with a revision ([index.Feed]), and storage says which
// index is its own, so that no revision stands for two changes (see mark.go).
//
// What the index holds that storage does not, and which starts anew when the
// index is built again: leases, the feed with its revisions and what it says of
// the past, who has pushed a tag, what is set aside for quotas, since when something has
// been idle and what is gone and not collected (see storage/collect), and what was
// found in layers, which only saves work.
package catalog
