package main

import "context"

// group is a part of a run, with servers of its own.
type group struct {
	name, about string
	run         func(ctx context.Context, b *bench) error
}

// groups are all that can be measured, in the order of a run.
var groups = []group{
	{"syncs", "how often a push waits for the disk, counted by strace", runSyncs},
	{"push", "push an image: all new (1.5 MB and 0.5 MB), an update that shares its\n" +
		"              kernel, a few bytes; and 32 clients that push into one repository", runPush},
	{"pull", "pull an image; GET of blobs; GET by tag and HEAD of a manifest", runPull},
	{"memory", "memory: idle, and while 64 push layers of 10 MB beside 64 that pull them", runMemory},
	{"query", "questions to berth's images API in stores of --images, and pushes there", runQuery},
	{"accounts", "berth with accounts against berth without, at least ten rounds", runAccounts},
	{"start", "berth's starts: from storage alone, after a stop, after a kill", runStart},
}
