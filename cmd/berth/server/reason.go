package server

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
)

// reason is why a client was shed, as the metrics say it.
type reason string

const (
	tooManyConnections reason = "connections"
	tooManyOfClient    reason = "client_connections"
	tooManyRequests    reason = "requests"
	tooManyUploads     reason = "uploads"
	tooFarBehind       reason = "stalled" // in favour of another

	// Of one account, whose own limits these are.
	tooManyAccountRequests reason = "account_requests"
	tooManyAccountUploads  reason = "account_uploads"

	// Of streams of changes, in all and of one account.
	tooManyStreams        reason = "streams"
	tooManyAccountStreams reason = "account_streams"

	// Of all who have no account, where there are accounts.
	tooManyAnonymous reason = "anonymous_requests"

	// Of memory, which is not counted here.
	tooMuchMemory        reason = "memory"
	tooMuchAccountMemory reason = "account_memory"
)

var reasons = []reason{
	tooManyConnections, tooManyOfClient, tooManyRequests, tooManyUploads, tooFarBehind,
	tooManyAccountRequests, tooManyAccountUploads, tooManyStreams, tooManyAccountStreams, tooManyAnonymous, tooMuchMemory, tooMuchAccountMemory,
}

func (r reason) message() string {
	switch r {
	case tooManyConnections:
		return "there are too many connections at the moment; try again"
	case tooManyOfClient:
		return "there are too many connections from this address; try again"
	case tooManyUploads:
		return "there are too many uploads at the moment; try again"
	case tooManyAccountRequests:
		return "your account has as many requests at a time as it may; try again once one of them has ended"
	case tooManyAccountUploads:
		return "your account has as many uploads at a time as it may; try again once one of them has ended"
	case tooManyStreams:
		return "as many follow the changes as may at a time; try again"
	case tooManyAccountStreams:
		return "your account follows the changes as many times as it may; try again once one of its streams has ended"
	case tooManyAnonymous:
		return "there are too many requests without an account at the moment; try again"
	default:
		return "there are too many requests at the moment; try again"
	}
}

// status is 429 where the client has it in its own hands, or where those who have
// a place may keep it for long, and else 503.
func (r reason) status() int {
	switch r {
	case tooManyAccountRequests, tooManyAccountUploads, tooManyStreams, tooManyAccountStreams:
		return http.StatusTooManyRequests
	}
	return http.StatusServiceUnavailable
}

// retryAfter is the header Retry-After, in seconds: uploads and streams last
// longer than anything else.
func (r reason) retryAfter() string {
	switch r {
	case tooManyUploads, tooManyAccountUploads, tooManyStreams, tooManyAccountStreams:
		return "5"
	}
	return "1"
}

// Shed counts who was refused or ended because there was too much, by reason.
type Shed struct{ by *prometheus.CounterVec }

// NewShed registers the counters, unless reg is nil.
func NewShed(reg *prometheus.Registry) *Shed {
	s := &Shed{prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "berth_shed_requests_total", Help: "Connections and requests that were refused or ended because there were too many, by reason.",
	}, []string{"reason"})}
	for _, r := range reasons {
		s.by.WithLabelValues(string(r))
	}
	if reg != nil {
		reg.MustRegister(s.by)
	}
	return s
}

func (s *Shed) count(why reason) { s.by.WithLabelValues(string(why)).Inc() }

// Memory counts what found no room in memory: in that of its account, or at all.
func (s *Shed) Memory(ofAccount bool) {
	if ofAccount {
		s.count(tooMuchAccountMemory)
		return
	}
	s.count(tooMuchMemory)
}
