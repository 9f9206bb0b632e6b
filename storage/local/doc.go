// Package local is berth's storage on local files, in distribution's layout.
//
// # What is promised
//
// When PutContent, Move, Delete or Together returns without an error, what it did
// survives a power cut. What is below a folder "_uploads" is the state of uploads
// in progress, of which nobody was told that it is kept: it is only written, and
// as long as it is small, only remembered. A small blob is then written once,
// where it belongs, and nothing is created to be deleted again, which ext4 makes
// others pay for: who creates a file there looks at all that were deleted nearby in
// the last minutes. At the end of a chunk, and when the driver ends well, an upload
// is in files, which a start finds again.
//
// # The journal
//
// A change is written to a journal first, as records: a path holds a content, a
// path is a certain file, there is nothing at a path. Then it is done in the file
// tree, without a sync. Records are durable by one fdatasync(2) of a file that was
// filled before and is written over in place, so that it has nothing else to write
// out, and nothing of strangers. Those who wait at the same time share one (a
// group); one that is alone waits for nobody. A group takes whole blocks, which
// are never written again, and has a checksum: a group of which a crash left a
// part does not count, and nobody was told of it.
//
// The journal has two segments. Of one that is full, a checkpoint in the
// background makes durable in the file tree what it holds: by one syncfs(2) on
// ext4, XFS and Btrfs, else by fsync of each file and folder. Then it is made void
// and used again. If both are full, writers wait.
//
// Content of more than 128 KiB is not written twice: its file is synced, and gets
// a second name in the folder ".berth-staged", which is synced before the record
// that names it. That name goes with the segment. Where there are no second names,
// it is a copy.
//
// # Order
//
// All that can fail is done before the record is written: a temporary file beside
// the target, the folders above it. What is left is a rename or a removal, or a
// write over a note of what is under way, which only a start reads. One
// change of a path is made at a time, and what is above and below it waits, so
// that the file tree sees changes in the journal's order. If the rename fails all
// the same, the change is done from its record; and if that fails, all that the
// journal holds is done once more before the next change and the next checkpoint.
//
// # Nobody sees what may go
//
// The file tree has only what is durable, but for what is being uploaded: who asks
// for a path finds what it was before the change until no crash takes the change
// back. So nothing is ever undone that could be seen.
//
// # Replay
//
// A start that finds a journal does its records in order, makes that durable, and
// makes the journal void, the oldest segment first. It does not matter which of
// them the crash had left done: a record says what is at a path, not what becomes
// of it; a later one of the same path, or of a folder above it, decides; and files
// get the time that they had. So it may be cut short and done again, as often as
// it takes. A damaged group that has others behind it was promised: the start ends
// with an error. A clean end leaves no journal, so that any registry can serve the
// files.
//
// A copy of a running store, made by reading its files, has in them all that was
// promised before the copy began, as nothing else was seen. Its journal may be
// older than its files, or newer: then replay gives a path the content that it had
// at some moment while the copy was made, which is what such a copy promises of
// any path. A journal beside files of another time or place, those of an older
// copy say, would do harm: it names its run, as does a file beside the images
// (".berth-generation"), and if they differ the start ends with an error. A
// snapshot of the disk is a power cut.
//
// # A sync that fails
//
// After an error the kernel takes what it could not write for written: a later
// sync succeeds and means nothing. So
//
//   - if a sync of the journal fails, its group gets an error and nothing was done;
//     the segment is not used again, and the next one says that it begins with the
//     sequence that the group had, so that a replay leaves the group out;
//   - if a sync of a staged file or of the stage fails, the changes that need it,
//     also those that had begun before, get an error, and their uploads go;
//   - if a checkpoint fails, all that the journal holds is written anew, content
//     although it is the same, deletions by creating a folder and removing it,
//     folders' entries by renaming them there and back, and then synced. What was
//     prepared before, and is done after, is written from its record as well.
//
// A folder's entry is written anew only if it was created since the last
// checkpoint: all that was promised below it is in the journal, so that a crash
// between the two renames loses nothing. A record says which folders those are,
// and a start does the same, since it cannot know how the process before it ended.
//
// The state of an upload's hash is believed without another look at the bytes, so
// that these are synced before it is written, unless they are few: of those no
// state is kept. It is written when the driver ends, and remembered until then.
//
// # Names
//
// Temporary files are named ".berth-", the run, a number, ".tmp". They are
// removed in the background by a start that finds the marker ".berth-open",
// which a clean end removes; nothing else is. No name of the layout begins with
// a full stop. No path and no symbolic link leads out of the root
// (openat2(2), or os.Root): what is behind a link that does is not there. Mounts
// are looked for down to the folders "blobs" and "repositories"; below these,
// there may be none.
//
// One driver has the folder at a time, see lock.
package local
