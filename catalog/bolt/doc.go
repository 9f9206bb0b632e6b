// Package bolt keeps the catalog's index in one bbolt file.
//
// # Buckets
//
// Repositories and namespaces are numbers of four bytes in keys, given out as
// they come and never twice; <repo> and <space> are such numbers. <digest> is a
// byte for the algorithm and the hash, 33 bytes for SHA-256; <short> the first
// nine of them. What is found by a short digest is looked at again under the
// whole one, so that two which begin alike are never mistaken for each other.
// <time> is nine bytes that sort as the time does, <~time> the same with all
// bits turned, so that the newest comes first. <uuid> is 16 bytes.
//
//	meta          schema               the schema's version, decimal
//	              storage              storage.Store.Identity of what was indexed
//	              boot                 the start of the machine in which the file was made
//	              start                eight random bytes: the start of the revisions
//	              mark                 what storage knows the file by (see catalog/mark.go)
//	              stats                index.Stats
//	              remains              bytes: what is gone of all namespaces, or nobody's
//	              kept                 bytes: that part of it which is in the collector's quarantine
//	              uptime               how far the time has come by which things are idle
//	names         <name>               what a repository is: its number, and counts
//	spaces        <name>               what a namespace is: its number, and sums
//	repositories  <repo> 0             the repository's name
//	              <repo> m <digest>    a manifest: see manifest.go
//	              <repo> M <digest>    what an index lists, where that is long
//	              <repo> t <tag>       a tag: the digest as it was pushed, and when it was set
//	              <repo> g <digest> <tag>      nothing: the tags of a manifest, by its canonical digest
//	              <repo> p <child> <parent>    the indexes that refer to a manifest, stored or not, and
//	                                           what they say of it
//	              <repo> a <alias>     digest: another digest of the same bytes, and the canonical one
//	              <repo> b <digest> <alias>    nothing: the same, the other way round
//	              <repo> s <subject> <digest>  what a list of referrers shows of the manifests that have
//	                                           a subject, stored or not, but for their annotations
//	              <repo> S <digest>    JSON object of strings: the annotations of a manifest that has a subject
//	              <repo> n <~time> <digest>    nothing: the listed images, the newest first
//	              <repo> l <digest>    a blob that the repository may serve: its size in bytes, and since when it
//	                                   has been idle, if it is
//	              <repo> o <digest>    since when a manifest has been idle that was left behind
//	              <repo> r <blob> <short>      nothing: the manifests that refer to a blob, stored or not
//	              <repo> w <tag>       who pushed the tag, and when
//	              <repo> d <digest>    how often a manifest was pulled, and the last day
//	namespaces    <space> t <time> <uuid>      as in times, of the images of a namespace
//	              <space> u <digest>   a blob that the namespace links, or its manifests refer to: its size, what
//	                                   holds it, and whether it is fresh
//	              <space> 0            the namespace's name
//	times         <time> <uuid>        <repo> <short>: the listed images by creation time
//	uuids         <uuid>               <repo> <short>, of every image, also those that belong to an index
//	digests       <short> <name>       nothing: the repositories that hold a manifest, by any of its digests
//	holders       <short> <name>       nothing: the repositories that link a blob
//	gone          <digest> <space>     what is stored of something that no repository of the namespace has any
//	                                   more: bytes, since when it has been idle, and whether it is in the
//	                                   collector's quarantine; space 0 is nobody
//	idle          <kind> <uptime> <repo or space> <digest>   nothing: what is idle, the longest first; a kind
//	                                   is l for links, m for manifests, b for bytes, k for those in quarantine
//	layers        <digest>             one byte, image.Parts: what was found in a layer
//	moves         <sequence>           a listed image whose creation time has changed
//	changes       <number>             a record of the feed (see changes.go); its number has eight bytes
//	former        <repo>               the last record of a repository that is gone, and its name
//	queue         <repo> <digest>      nothing: an index whose place in the lists has to be looked at again
//	pending       <name>               index.Prepared as JSON: what is about to happen in a repository
//	touched       <name>               nothing: all of the repository has to be read again from storage
//
// All that is known of one repository lies together, and so does that of a
// namespace, so that a push changes few pages of a large file.
//
// Values are in a form of their own (see encoding.go), which begins with a
// version. Fields are only ever added at the end: what a value does not have is
// zero, and what a reader does not know it skips, so that a berth which keeps
// more does not have to build the index anew.
//
// An index is stored as what it lists. What it is follows from the manifests
// that are there, and is put together when it is read (see [image.Compose]): of
// 6,001 manifests each is kept once, however many indexes list it. Only its
// place in the lists is kept, and looked at again when one of them comes or goes.
//
// The sequence of changes is the last revision, those of names and spaces the last
// numbers; that of namespaces grows with every reservation that an update ends.
// layers are written by Remember, pending by Prepare and Publish, touched by
// MarkDirty and ClearDirty, links, holders and what is counted by Link and
// Publish, what is idle or gone also by the methods of [index.Idler], everything
// else by Publish alone, but for what Trim, AddPulls and SetMark say of themselves.
//
// # The feed
//
// A record has about a hundred bytes: it names its repository by the number, each
// digest once, and the record of the repository before it, by which the history of
// one is read without an index of its own. It has at most 300 bytes for an image
// with one tag, however long the names are; each further tag or image that the
// change touches adds its name or digest. Records are numbered without a gap, so
// that the first one which is kept says what is kept. A number is given out when
// its transaction is synced (see feed.go).
//
// Leases and reservations are kept in memory: one process uses the file, and
// what they are for is gone with it (see lease.go and reserve.go).
//
// # Writing
//
// bbolt has one writer at a time and syncs at the end of each transaction. One
// goroutine does all the writing and takes every update that is waiting into
// one transaction, so that concurrent pushes share a sync (see writer.go).
package bolt
