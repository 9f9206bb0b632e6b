package main

import (
	"context"
	"time"
)

// group is a part of a run, with servers of its own.
type group struct {
	name, about string
	run         func(ctx context.Context, b *bench) error
	// takes is about how long it takes on a machine that does nothing else.
	takes func(b *bench) time.Duration
}

// groups are all that can be measured, in the order of a run.
var groups = []group{
	{"syncs", "how often a push waits for the disk, counted by strace", runSyncs, takesSyncs},
	{"push", "push an image: all new (1.5 MB and 0.5 MB), an update that shares its\n" +
		"              kernel, a few bytes; 32 clients that push into one repository; and\n" +
		"              blobs of --sizes", runPush, takesPush},
	{"pull", "pull an image; GET of blobs; GET by tag and HEAD of a manifest", runPull, takesPull},
	{"beside", "tiny pushes beside large ones, and beside another program that writes to the\n" +
		"              disk at 100 MB/s: p99 against their own", runBeside, takesBeside},
	{"collect", "tiny pushes while berth collects what nobody needs, against its own", runCollect, takesCollect},
	{"memory", "memory: idle, and while 64 push layers of 10 MB beside 64 that pull them", runMemory, takesMemory},
	{"query", "questions to berth's images API in stores of --images, and pushes there", runQuery, takesQuery},
	{"accounts", "berth with accounts against berth without, at least ten rounds", runAccounts, takesAccounts},
	{"start", "berth's starts: from storage alone, after a stop, after a kill while 16\n" +
		"              clients push", runStart, takesStart},
}
