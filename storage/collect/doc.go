// Package collect removes what nothing refers to any more, in the background, while
// people push and pull.
//
// # The protocol
//
// There are no lease objects. A blob's link in a repository that no manifest of it
// refers to, a manifest whose subject or index is gone, and bytes that no repository
// links or has as a manifest, each have one durable time, idle since: set in the
// index in the transaction in which the last reference goes, or the link arrives;
// renewed by HEAD, mount and commit, not more often than ten times a lease. Each is
// swept once it has been idle for the lease. HEAD of what is referred to writes
// nothing: should the last reference go after it, that sets the time anew. Bytes
// whose link was swept have been idle for as long as the link; bytes that nobody
// knows of, left by a crash or an index that was built anew, from when a search has
// found them.
//
// Who is about to use what has a digest relies on it: HEAD while it renews and looks;
// a mount and a commit from the look at what is there until the index has the link;
// the put of a manifest from the look at its blobs until it is published. Many may at
// the same time. Who takes something away (the sweep, the quarantine's end) has the
// digest alone, or leaves it for the next time. See storage.Store Rely and Alone; a
// process that ends holds none.
//
// A sweep lists what is idle without holding anything. Then it takes it alone, and
// looks again: at references and at the time. Only what is still idle goes: a link
// off the index, then out of storage; bytes, once no link is left, into the
// quarantine. An error while looking ends the sweep, and so does a change that is
// not completed, since what refers to what is then not known. In quarantine, bytes
// wait for a late reference of the namespace that had them, which brings them back,
// before they are removed.
//
// # Order of locks
//
// The lease of a repository comes first (catalog.Tx), then digests, then the guard
// of one digest's bytes (storage.Store Examine). Who takes something away never waits
// for a digest, it only tries; who relies waits for nothing but one taking away, and
// that waits for no lease, since the sweep of a repository's links has taken it
// before, and the sweep of bytes needs none. So there is no circle, in whatever order
// digests are relied on. What waits longest, a scrub that reads a large blob slowly,
// makes the sweep leave the blob, and nobody else wait.
//
// # The time
//
// The time is storage.Uptime: for how long the index has been open, over all
// processes, by the monotonic clock. A wall clock that jumps, whichever way and how
// far, moves nothing; nor does time in which berth does not run and nobody can ask.
// It is written down ten times a lease and with every change of what is idle, and a
// start goes on from the latest that is written: a crash makes things stay a little
// longer, never shorter. An index that is built anew begins at 0, and with it
// everything that is idle.
//
// # The hazards
//
//   - A blob is uploaded and its manifest is not there yet: the commit sets the
//     time, and the lease is longer than a client takes (RENEW_COMMIT).
//   - HEAD says yes, the last manifest goes, the sweep comes, the manifest is put:
//     the deletion sets the time (IDLE_AT_DELETE); of what was idle already, HEAD
//     renews it (RENEW_HEAD), and relies on it meanwhile, so that it does not say yes
//     of what is going (GUARD_HEAD).
//   - A mount, or the push to another repository, of a blob that is about to die:
//     it relies on it from its look until the link is there (GUARD_MOUNT,
//     GUARD_COMMIT), and renews (RENEW_MOUNT).
//   - The put of a manifest races the sweep: one comes first. If that is the sweep,
//     the put finds the bytes in quarantine and brings them back, or is refused
//     (GUARD_PUT, GUARD_SWEEP, RESTORE).
//   - An old blob is pushed again while it is enumerated: the list is stale, the
//     sweep looks again (LOOK_AGAIN).
//   - Two sweeps: one waits for the other; two of two collectors would both look
//     again.
//   - The quarantine is emptied while something is brought back (GUARD_EMPTY).
//   - A crash in the middle: what is durable is enough to go on. Bytes leave their
//     place only after every link has left the index, and a bucket's copy is made
//     before its original goes; times are not lost (DURABLE_IDLE). A link that has
//     left the index and not storage is noted there before, and is back after the
//     start, idle anew.
//   - An index is pushed before its children: a child that is untagged is no garbage,
//     it goes with the last index that lists it, when that is deleted (CHILDREN).
//   - A manifest that has a subject lives as long as that: it is idle from when the
//     subject is deleted. One whose subject never came, or that has a tag, is in an
//     index, or is pushed again, is kept like any other.
//
// Each name in capitals is a rule that the model (protocol.pml) can be without, as
// NO_ and the name; its test then wants a counterexample. The orders themselves are
// forced upon the real thing in test/faults/collected, each with its rule and
// without, as are crashes at every write of a sweep.
//
// # What the model has
//
// One digest; two repositories with a client each, that may be slower than the
// lease; deletions, sweeps, the end of the lease, and, with definitions of their
// own, another sweep, an emptied quarantine, an index, or a crash between any two
// steps. Bounded: each client pushes once. It does not have several digests (see the
// order of locks), nor more than one process.
package collect
