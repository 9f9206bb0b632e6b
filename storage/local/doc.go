// Package local is berth's storage on local files, in distribution's layout.
//
// # What is promised
//
// When PutContent, Move or Delete returns without an error, what it did survives
// a power cut: the content of the file, its entry, and the entries of all folders
// above it. What is below a folder "_uploads" is the state of uploads in
// progress, of which nobody was told that it is kept: it is only written.
//
// # Order
//
// A file's content is synced (fsync) before it gets the name under which it is
// looked for; then it is renamed, which is atomic; then the entry is synced. So
// a crash leaves
//
//   - before the rename: what was there before, and a temporary file or the
//     upload, which the next start or the purger removes;
//   - after the rename, before the sync of the entry: the old or the new file,
//     each whole, and nobody has been told of the new one;
//   - after that: the new file.
//
// A folder that is missing is created without a sync of its own: the sync of the
// entry covers it. A deletion is the removal and a sync of the entry; a crash
// before that may leave a tree in part, which its owner's intent completes.
//
// The state of an upload's hash is believed without another look at the bytes,
// so that these are synced before it is written, unless it is of none.
//
// # Entries
//
// On ext4, XFS and Btrfs, entries are synced by syncfs(2), which covers all that
// anybody wrote to the file system before, folders that another request created
// included. Elsewhere it is fsync of the file's folder, and of the parent of
// every folder above that is not known to be durable: one that this process
// created is not until its parent was synced, whoever created it. What was there
// at the start is durable by a syncfs at the start; where there is no such call,
// nothing is trusted until it was synced. Mounts are looked for down to the
// folders "blobs" and "repositories"; below these, there may be none.
//
// Requests that wait at the same time share a sync: those that come while one
// runs take the next together. One that is alone waits for nobody.
//
// # Nobody sees what may go
//
// Between the rename and the end of its sync a change can be seen, and may yet
// be undone. Who asks for its path waits until it is durable, or has been
// undone: of two clients that push the same blob, the second is told that it is
// there only when it is. There is one change of a path at a time.
//
// # A sync that fails
//
// After an error the kernel takes what it could not write for written: a later
// sync succeeds and means nothing. So after one that failed
//
//   - all who waited, and all who had begun to write before it ended, get an
//     error; their new files are removed. (Not put back as uploads: those are
//     written to in place, and the entry may be on disk all the same.) What they
//     replaced or removed is noted as suspect;
//   - a suspect path is written again by whoever needs it next: content although
//     it is the same; a folder's entry by renaming it there and back; a deletion
//     by creating a folder and removing it;
//   - bytes of an upload that were not synced before are given up, with the
//     upload.
//
// No folder is suspect below which anything was promised since it was created,
// so that a crash between its two renames loses nothing.
//
// # Names
//
// Temporary files are named ".berth-", the run, a number, ".tmp". They are
// removed in the background by a start that finds the marker ".berth-open",
// which a clean end removes; nothing else is. No name of the layout begins with
// a full stop. No path and no symbolic link leads out of the root
// (openat2(2), or os.Root): what is behind a link that does is not there.
package local
