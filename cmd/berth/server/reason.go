package server

// reason is why a client was shed, as the metrics say it.
type reason string

const (
	tooManyConnections reason = "connections"
	tooManyOfClient    reason = "client_connections"
	tooManyRequests    reason = "requests"
	tooManyUploads     reason = "uploads"
	tooFarBehind       reason = "stalled" // in favour of another
)

var reasons = []reason{tooManyConnections, tooManyOfClient, tooManyRequests, tooManyUploads, tooFarBehind}

func (r reason) message() string {
	switch r {
	case tooManyConnections:
		return "there are too many connections at the moment; try again"
	case tooManyOfClient:
		return "there are too many connections from this address; try again"
	case tooManyUploads:
		return "there are too many uploads at the moment; try again"
	default:
		return "there are too many requests at the moment; try again"
	}
}

// retryAfter is the header Retry-After, in seconds: uploads last longer than
// anything else.
func (r reason) retryAfter() string {
	if r == tooManyUploads {
		return "5"
	}
	return "1"
}
