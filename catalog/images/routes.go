package images

import (
	"strings"

	"github.com/berth-oci/berth/catalog/index"
)

// render appends an image as JSON.
type render func(c *call, b []byte, e *index.Entry) []byte

// route answers one path of the API.
type route struct {
	// path holds {uuid} where any UUID may stand.
	path   string
	answer func(c *call) error
	// render is how images look, where the answer has some.
	render render
	// brief routes show no more of an image than [index.Query.Brief] leaves.
	brief bool
	// public routes ask for no account.
	public bool
}

var routes = []route{
	{path: "/v1/images/list", answer: (*call).images, render: renderV1, brief: true},
	{path: "/v1/images", answer: (*call).imagesOrRepositories, render: renderCurrent},
	{path: "/images", answer: (*call).imagesOrRepositories, render: renderCurrent},
	{path: "/v1/image-store", answer: (*call).images, render: renderCurrent},
	{path: "/v1/images/{uuid}", answer: (*call).images, render: renderCurrent},
	{path: "/v1/images/{uuid}/history", answer: (*call).history, render: renderCurrent},
	{path: "/v1/changes", answer: (*call).changes, render: renderCurrent},
	{path: "/v1/users", answer: (*call).users},
	{path: "/v1/users/quotas", answer: (*call).quotas},
	{path: "/v1/users/{uuid}/quotas", answer: (*call).quotas},
	{path: "/v1/metros", answer: (*call).metros},
	{path: "/v1/healthz", answer: (*call).health, public: true},
	{path: "/v1/openapi.yaml", answer: (*call).document, public: true},
}

// routeOf returns the route of a path and the UUID in it, nil for none.
func routeOf(path string) (*route, string) {
	for i := range routes {
		before, after, varies := strings.Cut(routes[i].path, "{uuid}")
		if !varies {
			if path == before {
				return &routes[i], ""
			}
			continue
		}
		id, ok := strings.CutPrefix(path, before)
		if ok {
			id, ok = strings.CutSuffix(id, after)
		}
		if _, is := parseUUID(id); ok && is {
			return &routes[i], id
		}
	}
	return nil, ""
}

// imagesOrRepositories answers in the control plane's form if details are given:
// both APIs use one path.
func (c *call) imagesOrRepositories() error {
	if err := c.read(); err != nil {
		return err
	}
	if c.query.details != nil {
		return c.repositories(c.r.Context())
	}
	return c.answerImages()
}

// images answers with images, looked up or listed.
func (c *call) images() error {
	if err := c.read(); err != nil {
		return err
	}
	return c.answerImages()
}

func (c *call) answerImages() error {
	ctx := c.r.Context()
	switch {
	case len(c.items) > 0:
		return c.lookUp(ctx)
	case c.query.count > 0:
		return c.page(ctx)
	default:
		return c.list(ctx)
	}
}
