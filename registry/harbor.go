package registry

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/berth-oci/berth/storage"
	"github.com/berth-oci/berth/storage/reference"
)

// Harbor serves the two routes of the Harbor API that the legacy kraft client
// calls: how full a project is, and the deletion of a whole repository. It
// expects them at a host of its own; whoever wants them points that name at
// berth.
//
//	GET    /api/v2.0/projects/{project}/summary
//	DELETE /api/v2.0/projects/{project}/repositories/{repository}
//
// A project is a namespace. The repository's name is encoded, slashes twice.
func (r *Registry) Harbor() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		rest := strings.TrimPrefix(req.URL.EscapedPath(), "/api/v2.0/projects/")
		project, rest, _ := strings.Cut(rest, "/")
		project = projectName(project)
		repository, isRepository := strings.CutPrefix(rest, "repositories/")
		switch {
		case rest == "summary" && reference.IsComponent(project):
			r.harbor(w, req, http.MethodGet, route{name: project}, r.harborSummary)
		case isRepository && !strings.Contains(repository, "/"):
			name := project + "/" + unescaped(unescaped(repository))
			if !reference.IsName(name) {
				r.fail(w, req, &problem{http.StatusBadRequest, "NAME_INVALID", "repository name is not valid"})
				return
			}
			r.harbor(w, req, http.MethodDelete, route{name: name}, r.harborDelete)
		default:
			r.fail(w, req, &problem{http.StatusNotFound, "NOT_FOUND", "berth has no such route of the Harbor API"})
		}
	})
}

// harbor asks the gate and hands the request on.
func (r *Registry) harbor(w http.ResponseWriter, req *http.Request, method string, found route, next func(http.ResponseWriter, *http.Request, *request)) {
	if req.Method != method {
		w.Header().Set("Allow", method)
		r.fail(w, req, &problem{http.StatusMethodNotAllowed, "UNSUPPORTED", req.Method + " is not supported here"})
		return
	}
	found.kind = kindManifest // what is asked for is a repository's content
	a := request{route: found, clientName: found.name, write: method != http.MethodGet}
	if r.allowed(w, req, &a) {
		next(w, req.WithContext(storage.AskedBy(req.Context(), a.caller.Name())), &a)
	}
}

// projectName is the namespace that a project stands for: the legacy client
// names it like the account's robot.
func projectName(project string) string {
	project = unescaped(project)
	if name, ok := strings.CutPrefix(project, "robot$"); ok {
		project = name
	}
	return strings.TrimSuffix(project, ".users.kraftcloud")
}

func unescaped(s string) string {
	if plain, err := url.PathUnescape(s); err == nil {
		return plain
	}
	return s
}

func (r *Registry) harborSummary(w http.ResponseWriter, req *http.Request, a *request) {
	used, err := r.quotas.used(req.Context(), a.name)
	if err != nil {
		r.failWith(w, req, err)
		return
	}
	hard := r.quotas.limit(a.name)
	if hard == 0 {
		hard = -1 // Harbor's word for no limit
	}
	type amount struct {
		Storage int64 `json:"storage"`
	}
	var summary struct {
		Quota struct {
			Hard amount `json:"hard"`
			Used amount `json:"used"`
		} `json:"quota"`
	}
	summary.Quota.Hard, summary.Quota.Used = amount{hard}, amount{used}
	writeJSON(w, req, summary)
}

// harborDelete deletes every manifest and tag of a repository in one step.
func (r *Registry) harborDelete(w http.ResponseWriter, req *http.Request, a *request) {
	if r.readOnly {
		r.fail(w, req, &problem{http.StatusMethodNotAllowed, "UNSUPPORTED", "this registry is read-only at the moment"})
		return
	}
	err := r.catalog.Clear(req.Context(), a.name)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		r.fail(w, req, unknownRepository)
		return
	case err != nil:
		r.failWith(w, req, err)
		return
	}
	e := r.event(req, a, "delete")
	e.Status, e.Detail = http.StatusOK, "all of the repository"
	r.record(req, e)
	w.WriteHeader(http.StatusOK)
}
