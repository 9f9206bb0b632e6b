/* The protocol by which writers, HEAD, the sweep and the quarantine share the
   bytes of one digest, which two repositories link or may link. doc.go says what
   it stands for; model_test.go has spin look at every interleaving, and wants
   each rule below, switched off by a definition of its name, to be missed. */

/* What is durable: in storage, and in the index. */
bool stored = true;          /* the bytes are at their place */
bool kept = false;           /* they are in quarantine */
bool link[2];                /* a repository links them */
bool needed[2];              /* a manifest of it refers to them */
bool listed = false;         /* an index in repository 0 lists them as its child */
bool child = false;          /* the child has come while it was listed */
bool fresh[2];               /* a link has not been idle for the lease */
bool freshBytes = true;      /* nor have the bytes */

/* What a crash loses. */
byte users = 0;              /* so many rely on the digest */
bool alone = false;          /* somebody has it alone, to take it away */
byte epoch = 0;              /* grows with every crash */

/* What nobody writes down: clients that were told yes and are within the lease. */
byte promised = 0;

#define TAKE     atomic { !alone -> if :: epoch != me -> goto crashed :: else fi; users++ }
#define GIVE     atomic { if :: epoch != me -> goto crashed :: else -> users-- fi }
#define ALONE    atomic { !alone && users == 0 -> if :: epoch != me -> goto crashed :: else fi; alone = true }
#define UNALONE  atomic { if :: epoch != me -> goto crashed :: else -> alone = false fi }
#define STEP     if :: epoch != me -> goto crashed :: else fi

#ifdef NO_GUARD_HEAD
#define TAKE_HEAD STEP
#define GIVE_HEAD STEP
#else
#define TAKE_HEAD TAKE
#define GIVE_HEAD GIVE
#endif
#ifdef NO_GUARD_MOUNT
#define TAKE_MOUNT STEP
#define GIVE_MOUNT STEP
#else
#define TAKE_MOUNT TAKE
#define GIVE_MOUNT GIVE
#endif
#ifdef NO_GUARD_COMMIT
#define TAKE_COMMIT STEP
#define GIVE_COMMIT STEP
#else
#define TAKE_COMMIT TAKE
#define GIVE_COMMIT GIVE
#endif
#ifdef NO_GUARD_PUT
#define TAKE_PUT STEP
#define GIVE_PUT STEP
#else
#define TAKE_PUT TAKE
#define GIVE_PUT GIVE
#endif
#ifdef NO_GUARD_SWEEP
#define TAKE_SWEEP STEP
#define GIVE_SWEEP STEP
#else
#define TAKE_SWEEP ALONE
#define GIVE_SWEEP UNALONE
#endif
#ifdef NO_GUARD_EMPTY
#define TAKE_EMPTY STEP
#define GIVE_EMPTY STEP
#else
#define TAKE_EMPTY ALONE
#define GIVE_EMPTY UNALONE
#endif

#ifdef NO_CHILDREN
#define wanted(r) (needed[r])
#else
#define wanted(r) (needed[r] || (r == 0 && listed))
#endif

#define idleLink(r) (link[r] && !wanted(r) && !fresh[r])
#define idleBytes   (stored && !link[0] && !link[1] && !freshBytes)

/* A client pushes a manifest that refers to the bytes, into repository r: it asks
   whether they are there, brings them if not, and puts the manifest. */
proctype Client(byte r)
{
	byte me, rounds = 0;
	bool yes, mine;

again:
	skip;
	d_step { me = epoch; yes = false; mine = false }
	/* HEAD */
	TAKE_HEAD;
	yes = link[r] && stored;
	STEP;
	if
	:: yes ->
		atomic {
			STEP;
#ifndef NO_RENEW_HEAD
			if :: !wanted(r) -> fresh[r] = true :: else fi; /* in use: nothing is written */
#endif
			promised++; mine = true
		}
	:: else
	fi;
	GIVE_HEAD;

	if
	:: yes -> goto put
	:: !yes && link[1-r] -> goto mount
	:: !yes -> goto upload
	fi;

mount:
	TAKE_MOUNT;
	yes = link[1-r] && stored;
	STEP;
	if
	:: yes ->
		atomic {
			STEP;
			link[r] = true;
#ifndef NO_RENEW_MOUNT
			fresh[r] = true;
#endif
			if :: r == 0 && listed -> child = true :: else fi;
			promised++; mine = true
		}
	:: else
	fi;
	GIVE_MOUNT;
	if :: yes -> goto put :: else fi;

upload:
	TAKE_COMMIT;
	yes = stored;             /* what is there is not written again */
	STEP;
	if
	:: !yes -> atomic { STEP; freshBytes = true; stored = true }
	:: else
	fi;
	STEP;
	atomic {
		STEP;
		link[r] = true;
#ifndef NO_RENEW_COMMIT
		fresh[r] = true;
		freshBytes = true;
#endif
		if :: r == 0 && listed -> child = true :: else fi;
		promised++; mine = true
	}
	GIVE_COMMIT;

put:
	skip;
	if
	:: mine -> atomic { promised--; mine = false } /* slower than the lease */
	:: true
	fi;
	TAKE_PUT;
	yes = link[r] && stored;
	STEP;
	if
	:: !yes && kept ->        /* a late reference */
#ifndef NO_RESTORE
		atomic { STEP; if :: kept -> freshBytes = true; stored = true :: else fi };
		atomic { STEP; kept = false; link[r] = true; fresh[r] = true };
		yes = true
#else
		atomic { STEP; link[r] = true; yes = true }
#endif
	:: else
	fi;
	if
	:: yes -> atomic { STEP; needed[r] = true; if :: r == 0 && listed -> child = true :: else fi }
	:: else -> assert(!mine)  /* who was told yes is not refused */
	fi;
	atomic {
		if :: mine -> promised--; mine = false :: else fi
	}
	GIVE_PUT;
	goto next;

crashed:
	/* The client is still there, and tries again what it was promised. */
	if :: mine -> me = epoch; goto put :: else fi;
next:
	rounds++;
	if :: rounds < ROUNDS -> goto again :: true fi
}

/* Manifests are deleted, at any time. What nothing refers to any more is idle
   from then on. */
proctype Deleter(byte r)
{
	byte n = 0;
	do
	:: n < ROUNDS -> atomic {
		n++;
		if
		:: needed[r] ->
			needed[r] = false;
#ifndef NO_IDLE_AT_DELETE
			fresh[r] = true
#endif
		:: else
		fi }
	:: break
	od
}

/* An index comes before the child that it lists, and goes. */
proctype Index()
{
	listed = true;
	if :: link[0] && stored && !alone -> skip :: true fi;
	atomic { listed = false; child = false; fresh[0] = true }
}

proctype Sweep()
{
	byte me, n = 0, what;
	do
	:: n < SWEEPS ->
		n++;
		me = epoch;
		/* What is to go is listed first, and looked at later. */
		if
		:: idleLink(0) -> what = 0
		:: idleLink(1) -> what = 1
		:: idleBytes -> what = 2
		:: else -> goto over
		fi;
		TAKE_SWEEP;
#ifndef NO_LOOK_AGAIN
		if
		:: (what < 2 && !idleLink(what)) || (what == 2 && !idleBytes) -> GIVE_SWEEP; goto over
		:: else
		fi;
#endif
		STEP;
		if
		:: what < 2 -> atomic { STEP; link[what] = false }
		:: else ->
			atomic { STEP; kept = true };      /* a bucket copies, then removes */
			atomic { STEP; stored = false };
#ifdef REACH_SWEPT
			assert(false)              /* is anything swept at all? */
#else
			skip
#endif
		fi;
		GIVE_SWEEP;
over:		skip
	:: break
	od;
crashed:
	skip
}

/* The quarantine is emptied. */
proctype Empty()
{
	byte me = epoch;
	bool there;
	TAKE_EMPTY;
	there = kept;
	STEP;
	if :: there -> atomic { STEP; kept = false } :: else fi;
	GIVE_EMPTY;
crashed:
	skip
}

/* The lease passes, but not while a client has it: one that takes longer was
   promised nothing. */
proctype Clock()
{
	byte n = 0;
	do
	:: n < 2*ROUNDS ->
		n++;
		atomic { promised == 0 -> fresh[0] = false; fresh[1] = false; freshBytes = false }
	:: break
	od
}

/* Whatever runs ends in the middle, and what it held is free. */
proctype Crash()
{
	atomic {
		epoch++; users = 0; alone = false;
#ifdef NO_DURABLE_IDLE
		fresh[0] = false; fresh[1] = false; freshBytes = false
#endif
	}
}

/* What is acknowledged is there, at every moment. */
proctype Watch()
{
	assert((!needed[0] || link[0]) && (!needed[1] || link[1]));
	assert(!(needed[0] || needed[1]) || stored);
	assert(!(child && listed) || (stored && link[0]))
}

init {
	atomic {
		link[0] = true; needed[0] = true;
		run Client(0); run Client(1); run Deleter(0); run Sweep();
		run Clock();
#ifdef WITH_INDEX
		run Index();
#endif
#ifdef WITH_CRASH
		run Crash();
#endif
#ifdef WITH_TWO_SWEEPS
		run Sweep();
#endif
#ifdef WITH_EMPTY
		run Empty();
#endif
#ifdef WITH_DELETER
		run Deleter(1);
#endif
		run Watch()
	}
}
