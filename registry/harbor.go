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
func (g *Registry) Harbor() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rest := strings.TrimPrefix(r.URL.EscapedPath(), "/api/v2.0/projects/")
		project, rest, _ := strings.Cut(rest, "/")
		project = projectName(project)
		repository, isRepository := strings.CutPrefix(rest, "repositories/")
		switch {
		case rest == "summary" && reference.IsComponent(project):
			g.harbor(w, r, http.MethodGet, route{name: project}, g.harborSummary)
		case isRepository && !strings.Contains(repository, "/"):
			name := project + "/" + unescaped(unescaped(repository))
			if !reference.IsName(name) {
				g.fail(w, r, &problem{http.StatusBadRequest, "NAME_INVALID", "repository name is not valid"})
				return
			}
			g.harbor(w, r, http.MethodDelete, route{name: name}, g.harborDelete)
		default:
			g.fail(w, r, &problem{http.StatusNotFound, "NOT_FOUND", "berth has no such route of the Harbor API"})
		}
	})
}

// harbor asks the gate and hands the request on.
func (g *Registry) harbor(w http.ResponseWriter, r *http.Request, method string, found route, next func(http.ResponseWriter, *http.Request, *asked)) {
	if r.Method != method {
		w.Header().Set("Allow", method)
		g.fail(w, r, &problem{http.StatusMethodNotAllowed, "UNSUPPORTED", r.Method + " is not supported here"})
		return
	}
	found.kind = kindManifest // what is asked for is a repository's content
	a := asked{route: found, given: found.name, write: method != http.MethodGet}
	if g.allowed(w, r, &a) {
		next(w, r, &a)
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

func (g *Registry) harborSummary(w http.ResponseWriter, r *http.Request, a *asked) {
	used, err := g.quotas.used(r.Context(), a.name)
	if err != nil {
		g.failWith(w, r, err)
		return
	}
	hard := g.quotas.limit(a.name)
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
	writeJSON(w, r, summary)
}

// harborDelete deletes every manifest and tag of a repository in one step.
func (g *Registry) harborDelete(w http.ResponseWriter, r *http.Request, a *asked) {
	if g.readOnly {
		g.fail(w, r, &problem{http.StatusMethodNotAllowed, "UNSUPPORTED", "this registry is read-only at the moment"})
		return
	}
	err := g.catalog.Clear(r.Context(), a.name)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		g.fail(w, r, unknownRepository)
		return
	case err != nil:
		g.failWith(w, r, err)
		return
	}
	e := g.event(r, a, "delete")
	e.Status, e.Detail = http.StatusOK, "all of the repository"
	g.record(r, e)
	w.WriteHeader(http.StatusOK)
}
