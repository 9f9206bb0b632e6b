package registry

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/berth-oci/berth/registry/access"
	"github.com/berth-oci/berth/storage/reference"
)

// asked is a request that was understood: who wants to do what, where. It is
// made in one place, and all that happens afterwards goes by it.
type asked struct {
	route
	caller access.Caller
	// given is the repository's name as the client wrote it; route.name is the
	// long form.
	given string
	write bool
}

// understand turns a request into what is asked. What is wrong with it does not
// depend on what is stored.
func (g *Registry) understand(r *http.Request) (asked, *problem) {
	found, p := parse(r)
	if p != nil {
		return asked{}, p
	}
	a := asked{route: found, given: found.name}
	if found.name != "" {
		a.name = g.names.long(found.name)
	}
	reading := r.Method == http.MethodGet || r.Method == http.MethodHead
	// An upload is a write from its first step to its last, asking how far it
	// has come included.
	a.write = !reading || found.kind == kindUpload
	return a, nil
}

// allowed says whether the caller may do what it asks, and answers if not. A
// repository that the caller may not see is answered for without a look at
// storage or index, so that it makes no difference whether it exists.
func (g *Registry) allowed(w http.ResponseWriter, r *http.Request, a *asked) bool {
	id := access.Of(r)
	if id.Err != nil {
		g.unauthorized(w, r, a, id)
		return false
	}
	a.caller = id.Caller
	caller := a.caller
	switch {
	case caller.Open():
		return g.fits(w, r, a)
	case a.kind == kindBase:
		// A client shows its credentials only where it is asked for them.
		if !access.HasCredentials(r) {
			g.unauthorized(w, r, a, id)
			return false
		}
		return true
	case a.kind == kindCatalog:
		if caller.Anonymous() {
			g.unauthorized(w, r, a, id)
			return false
		}
		return true
	case a.write && caller.MayWrite(a.name):
		return g.fits(w, r, a)
	case !a.write && caller.MayRead(a.name):
		return true
	case caller.Anonymous():
		g.unauthorized(w, r, a, id)
	case !a.write:
		g.fail(w, r, unknownRepository)
	case caller.ReadOnly():
		g.refuse(w, r, a, &problem{http.StatusForbidden, "DENIED", "this token may only read"})
	default:
		g.refuse(w, r, a, &problem{http.StatusForbidden, "DENIED", "you may not write to " + a.given})
	}
	return false
}

var unknownRepository = &problem{http.StatusNotFound, "NAME_UNKNOWN", "there is no such repository"}

// fits refuses an official folder that has the name of an account: the short
// form of what lies in it would mean the account's.
func (g *Registry) fits(w http.ResponseWriter, r *http.Request, a *asked) bool {
	folder := reference.Folder(a.name)
	if !a.write || folder == "" || !g.names.namespace(folder) {
		return true
	}
	g.refuse(w, r, a, &problem{http.StatusForbidden, "DENIED",
		"there can be no official folder " + folder + ": it is the name of an account"})
	return false
}

// unauthorized answers wrong credentials, slower and slower, or asks for some.
func (g *Registry) unauthorized(w http.ResponseWriter, r *http.Request, a *asked, id *access.Identity) {
	err := id.Refuse(w, r, a.resource(), a.action())
	p := &problem{http.StatusUnauthorized, "UNAUTHORIZED", err.Error()}
	switch {
	case errors.Is(err, access.ErrTooManyFailures):
		g.fail(w, r, &problem{http.StatusTooManyRequests, "TOOMANYREQUESTS", "too many failed attempts from this address; wait a moment"})
	case errors.Is(err, access.ErrNoCredentials):
		g.fail(w, r, p)
	default:
		g.refuse(w, r, a, p)
	}
}

// resource is what a challenge is about.
func (a *asked) resource() string {
	if a.kind == kindCatalog {
		return "_catalog"
	}
	return a.given
}

// action is what a challenge says is needed.
func (a *asked) action() string {
	if a.write {
		return "push"
	}
	return "pull"
}

// refuse answers what a caller may not do, and writes it down.
func (g *Registry) refuse(w http.ResponseWriter, r *http.Request, a *asked, p *problem) {
	e := g.event(r, a, "refused")
	e.Status, e.Detail = p.status, p.code+": "+p.message
	g.record(r, e)
	g.fail(w, r, p)
}

// recordRefusal writes down what was refused further in.
func (g *Registry) recordRefusal(r *http.Request, a *asked, status int, err error) {
	e := g.event(r, a, "refused")
	e.Status, e.Detail = status, why(err)
	g.record(r, e)
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
func (g *Registry) event(r *http.Request, a *asked, action string) access.Event {
	return access.Event{
		Account: a.caller.Name(), Token: a.caller.Label(), Client: r.RemoteAddr, Request: g.requestID(r.Context()),
		Action: action, Repository: a.name, Tag: a.tag, Digest: string(a.digest),
	}
}

// record writes an event down. An audit log that cannot be written is said
// loudly, and stops nobody: what happened has happened.
func (g *Registry) record(r *http.Request, e access.Event) {
	if err := g.audit.Write(e); err != nil {
		g.log.ErrorContext(r.Context(), "audit log cannot be written", "error", err, "event", e.Action+" "+e.Repository+" "+strconv.Itoa(e.Status))
	}
}
