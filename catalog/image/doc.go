// Package image reads manifests, and unikernels out of them.
//
// [Parse] and [Read] are the one way to read the bytes of a manifest: whoever
// pushes, serves or indexes one goes by the same [Document].
//
// [Describe] takes the bytes of a manifest and what its repository holds, and
// says all that the index keeps of it. It is pure: all reading goes through a
// [Content], every read is bounded, and the same content gives the same
// description everywhere.
package image
