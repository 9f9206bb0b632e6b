// Package collect is the design of the collector, and the model that it is checked
// with (protocol.pml); the code of the collector follows it.
//
// # The protocol
//
// There are no lease objects. A blob, or a repository's link to one, that nothing
// refers to has one durable time, idle since: set in the index when its last
// reference goes, in the same transaction, or when it arrives, before the bytes
// do; renewed by HEAD, mount and commit. It is swept once it has been idle for the
// lease. HEAD of what is referred to writes nothing: should the last reference go
// after it, that sets the time anew.
//
// Every digest has a guard, which one holds at a time: HEAD while it looks and
// renews; a mount and a commit from the look at what is there until the link is
// made and renewed; the put of a manifest from the look at its blobs (it takes
// their guards in the order of the digests) until it is published; the sweep, the
// quarantine's end, and whoever brings something back from it. A process that ends
// holds none any more.
//
// A sweep lists what is idle without any guard. Then, for each, it takes the
// guard and looks again: at references, those of indexes to children included, and
// at the time. Only what is still idle goes: a link from the index, then from
// storage; bytes, once no link is left, to the quarantine. An error while looking
// ends the sweep. In quarantine, bytes wait for a late reference, which brings
// them back, before they are removed.
//
// # The hazards
//
//   - A blob is uploaded and its manifest is not there yet: the commit sets the
//     time, and the lease is longer than a client takes (RENEW_COMMIT).
//   - HEAD says yes, the last manifest goes, the sweep comes, the manifest is put:
//     the deletion sets the time (IDLE_AT_DELETE); of what was idle already, HEAD
//     renews it (RENEW_HEAD), under the guard, so that it does not say yes of what
//     is going (GUARD_HEAD).
//   - A mount, or the push to another repository, of a blob that is about to die:
//     it holds the guard from its look until the link is there (GUARD_MOUNT,
//     GUARD_COMMIT), and renews (RENEW_MOUNT).
//   - The put of a manifest races the sweep: one has the guard first. If that is
//     the sweep, the put finds the bytes in quarantine and brings them back, or is
//     refused (GUARD_PUT, GUARD_SWEEP, RESTORE).
//   - An old blob is pushed again while it is enumerated: the list is stale, the
//     sweep looks again (LOOK_AGAIN).
//   - Two sweeps: the same.
//   - The quarantine is emptied while something is brought back (GUARD_EMPTY).
//   - A crash in the middle: what is durable is enough to go on. Bytes leave their
//     place only after every link has left the index, and a bucket's copy is made
//     before its original goes; times are not lost (DURABLE_IDLE).
//   - An index is pushed before its children: what it lists counts as referred to
//     when it comes, and becomes idle when the index goes (CHILDREN).
//
// Each name in capitals is a rule that the model can be without, as NO_ and the
// name; the test then wants a counterexample.
//
// # What the model has
//
// One digest; two repositories with a client each, that may be slower than the
// lease; deletions, sweeps, the end of the lease, and, with definitions of their
// own, another sweep, an emptied quarantine, an index, or a crash between any two
// steps. Bounded: each client pushes once. It does not have several digests (the
// order of the guards is what keeps those from waiting for each other), nor more
// than one process.
package collect
