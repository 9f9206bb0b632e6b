package server

// Limits bound how much of berth clients may take up at a time. All must be
// above 0.
type Limits struct {
	// Connections are all on the main address; PerClient are those of one
	// address, or of one /64 of IPv6, that is no trusted proxy.
	Connections, PerClient int
	// Requests and Uploads are those in flight; an upload is both.
	Requests, Uploads int
	// AccountRequests and AccountUploads are those of one account.
	AccountRequests, AccountUploads int
	// Streams are the requests for changes, which are no Requests: they last as long
	// as their clients want. AccountStreams are those of one account.
	Streams, AccountStreams int
}

// connectionBytes is how much memory there is for one connection: the headers of
// a request, which may be 64 KiB, the buffers of TLS, and as much again for what
// the collector has not freed yet.
const connectionBytes = 128 << 10

// Within replaces what is 0 by what suits a number of files that the process
// may have open, of which a connection is one, and a request may need two more;
// and a number of bytes of memory.
func (l Limits) Within(files int, memory int64) Limits {
	set := func(limit *int, least, most int) {
		if *limit == 0 {
			*limit = max(least, most)
		}
	}
	set(&l.Connections, 16, min(files*3/5, int(memory/connectionBytes), 10_000))
	set(&l.PerClient, 8, l.Connections/4)
	set(&l.Requests, 8, min(files/8, 1000))
	set(&l.Uploads, 4, l.Requests/2)
	set(&l.AccountRequests, 4, l.Requests/4)
	set(&l.AccountUploads, 2, l.Uploads/4)
	set(&l.Streams, 8, l.Connections/2)
	set(&l.AccountStreams, 4, l.Streams/4)
	return l
}

// lobby is how many connections may wait for a place.
func (l Limits) lobby() int { return max(4, min(l.Connections/20, 64)) }

// maxStreams bounds the requests that one connection of HTTP/2 has in flight,
// and so what net/http has read of requests before it is known whether there is
// a place for them.
func (l Limits) maxStreams() int { return max(8, min(l.Requests/8, 32)) }

// scrapers is how many connections there may be on the address of the metrics.
const scrapers = 16

// usualFiles is how many files a process may have open where nobody says.
const usualFiles = 1024
