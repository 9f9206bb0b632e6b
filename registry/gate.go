package registry

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/berth-oci/berth/registry/access"
	"github.com/berth-oci/berth/storage/reference"
)

// request is a parsed request: who wants to do what, and where. It is made in
// one place, and everything that follows relies on it.
type request struct {
	route
	caller access.Caller
	// clientName is the repository's name as the client wrote it; route.name is the
	// long form.
	clientName string
	write      bool
}

// parseRequest parses a request. Its errors never depend on what is stored.
func (r *Registry) parseRequest(req *http.Request) (request, *problem) {
	found, p := parse(req)
	if p != nil {
		return request{}, p
	}
	a := request{route: found, clientName: found.name}
	if found.name != "" {
		a.name = r.names.long(found.name)
	}
	reading := req.Method == http.MethodGet || req.Method == http.MethodHead
	// An upload is a write from its first step to its last, asking how far it
	// has come included.
	a.write = !reading || found.kind == kindUpload
	return a, nil
}

// allowed reports whether the caller may do what it asks, and answers if not. A
// repository that the caller may not see is answered for without a look at
// storage or index, so that it makes no difference whether it exists.
func (r *Registry) allowed(w http.ResponseWriter, req *http.Request, a *request) bool {
	id := access.Of(req)
	if id.Err != nil {
		r.unauthorized(w, req, a, id)
		return false
	}
	a.caller = id.Caller
	caller := a.caller
	switch {
	case caller.Open():
		return r.fits(w, req, a)
	case a.kind == kindBase:
		// A client shows its credentials only where it is asked for them.
		if !access.HasCredentials(req) {
			r.unauthorized(w, req, a, id)
			return false
		}
		return true
	case a.kind == kindCatalog:
		// What it lists depends on who asks, so that it is as with the base.
		if !caller.MayList() || !access.HasCredentials(req) {
			r.unauthorized(w, req, a, id)
			return false
		}
		return true
	case a.write && caller.MayWrite(a.name):
		return r.fits(w, req, a)
	case !a.write && caller.MayRead(a.name):
		return true
	case caller.Anonymous():
		r.unauthorized(w, req, a, id)
	case !a.write:
		r.fail(w, req, unknownRepository)
	case caller.ReadOnly():
		r.refuse(w, req, a, &problem{http.StatusForbidden, "DENIED", "this token may only read"})
	default:
		r.refuse(w, req, a, &problem{http.StatusForbidden, "DENIED", "you may not write to " + a.clientName})
	}
	return false
}

var unknownRepository = &problem{http.StatusNotFound, "NAME_UNKNOWN", "there is no such repository"}

// fits refuses an official folder that has the name of an account: the short
// form of what lies in it would mean the account's.
func (r *Registry) fits(w http.ResponseWriter, req *http.Request, a *request) bool {
	folder := reference.Folder(a.name)
	if !a.write || folder == "" || !r.names.namespace(folder) {
		return true
	}
	r.refuse(w, req, a, &problem{http.StatusForbidden, "DENIED",
		"there can be no official folder " + folder + ": it is the name of an account"})
	return false
}

// unauthorized answers wrong credentials, slower and slower, or asks for some.
func (r *Registry) unauthorized(w http.ResponseWriter, req *http.Request, a *request, id *access.Identity) {
	err := id.Refuse(w, req, a.resource(), a.action())
	p := &problem{http.StatusUnauthorized, "UNAUTHORIZED", err.Error()}
	switch {
	case errors.Is(err, access.ErrTooManyFailures):
		r.fail(w, req, &problem{http.StatusTooManyRequests, "TOOMANYREQUESTS", "too many failed attempts from this address; wait a moment"})
	case errors.Is(err, access.ErrNoCredentials):
		r.fail(w, req, p)
	default:
		r.refuse(w, req, a, p)
	}
}

// resource is what a challenge is about.
func (r *request) resource() string {
	if r.kind == kindCatalog {
		return "_catalog"
	}
	return r.clientName
}

// action is what a challenge says is needed.
func (r *request) action() string {
	if r.write {
		return "push"
	}
	return "pull"
}

// refuse answers what a caller may not do, and writes it down.
func (r *Registry) refuse(w http.ResponseWriter, req *http.Request, a *request, p *problem) {
	e := r.event(req, a, "refused")
	e.Status, e.Detail = p.status, p.code+": "+p.message
	r.record(req, e)
	r.fail(w, req, p)
}

// recordRefusal writes down what was refused further in.
func (r *Registry) recordRefusal(req *http.Request, a *request, status int, err error) {
	e := r.event(req, a, "refused")
	e.Status, e.Detail = status, why(err)
	r.record(req, e)
}

// why is what an error tells the client, for the audit log.
func why(err error) string {
	if err == nil {
		return ""
	}
	_, body := answerTo(err)
	return body.Errors[0].Code + ": " + body.Errors[0].Message
}

// event begins a line of the audit log.
func (r *Registry) event(req *http.Request, a *request, action string) access.Event {
	return access.Event{
		Account: a.caller.Name(), Token: a.caller.Label(), Client: req.RemoteAddr, Request: r.requestID(req.Context()),
		Action: action, Repository: a.name, Tag: a.tag, Digest: string(a.digest),
	}
}

// record writes an event down. An audit log that cannot be written is said
// loudly, and stops nobody: what happened has happened.
func (r *Registry) record(req *http.Request, e access.Event) {
	if err := r.audit.Write(e); err != nil {
		r.log.ErrorContext(req.Context(), "audit log cannot be written", "error", err, "event", e.Action+" "+e.Repository+" "+strconv.Itoa(e.Status))
	}
}
