package collected

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
)

// client has repositories of its own, of which it knows what they must hold, and
// shares others.
type client struct {
	*soak
	number int
	rnd    *rand.Rand
	// images are those of its own repository, by tag; manifests by digest.
	images map[string]string
	steps  int
}

func (c *client) own() string { return fmt.Sprintf("team%d/own%d", c.number%3, c.number) }

// any is a repository that somebody may be changing.
func (c *client) any() string {
	if c.rnd.IntN(2) == 0 {
		return "shared/app"
	}
	return c.clients[c.rnd.IntN(len(c.clients))].own()
}

func (c *client) expect(answer int, method, target, body string, header ...string) (string, error) {
	got := c.ask(method, target, body, header...)
	if got.Code != answer {
		return "", fmt.Errorf("%s %s: %d %s, want %d", method, target, got.Code, got.Body, answer)
	}
	return got.Body.String(), nil
}

func (c *client) step() error {
	switch n := c.rnd.IntN(20); {
	case n < 7:
		return c.pushImage(c.own(), fmt.Sprint("v", c.rnd.IntN(6)), c.images)
	case n < 9:
		return c.pushImage("shared/app", fmt.Sprint("v", c.rnd.IntN(8)), nil)
	case n < 13:
		return c.pull()
	case n < 15:
		return c.delete()
	case n < 16:
		return c.retag()
	case n < 17:
		return c.refer()
	case n < 18:
		return c.pushIndex()
	case n < 19:
		return c.pullShared()
	default:
		return c.deleteShared()
	}
}

// bring has a blob be in a repository, as clients do: they ask, mount, and upload.
func (c *client) bring(repository, content string) error {
	base := "/v2/" + repository + "/blobs/"
	if c.ask("HEAD", base+dgst(content), "").Code == http.StatusOK {
		return nil
	}
	if c.rnd.IntN(2) == 0 {
		answer := c.ask("POST", base+"uploads/?mount="+dgst(content)+"&from="+c.any(), "")
		switch answer.Code {
		case http.StatusCreated:
			return nil
		case http.StatusAccepted:
			target := answer.Header().Get("Location")
			joint := "?"
			if strings.Contains(target, "?") {
				joint = "&"
			}
			_, err := c.expect(http.StatusCreated, "PUT", target+joint+"digest="+dgst(content), content, "Content-Type", "application/octet-stream")
			return err
		default:
			return fmt.Errorf("mount: %d %s", answer.Code, answer.Body)
		}
	}
	_, err := c.expect(http.StatusCreated, "POST", base+"uploads/?digest="+dgst(content), content)
	return err
}

// imageOf is an image of some layers.
func imageOf(annotation, subject string, layers ...string) string {
	described := func(mediaType, content string) map[string]any {
		return map[string]any{"mediaType": mediaType, "digest": dgst(content), "size": len(content)}
	}
	m := map[string]any{
		"schemaVersion": 2, "mediaType": imageType, "annotations": map[string]string{"of": annotation},
		"config": described("application/vnd.oci.image.config.v1+json", layers[0]),
	}
	var list []any
	for _, layer := range layers {
		list = append(list, described("application/vnd.oci.image.layer.v1.tar", layer))
	}
	m["layers"] = list
	if subject != "" {
		m["subject"] = map[string]any{"mediaType": imageType, "digest": dgst(subject), "size": len(subject)}
	}
	text, _ := json.Marshal(m)
	return string(text)
}

func (c *client) someLayers() []string {
	layers := make([]string, 1+c.rnd.IntN(3))
	for i := range layers {
		layers[i] = c.layers[c.rnd.IntN(len(c.layers))]
	}
	return layers
}

func (c *client) pushImage(repository, tag string, known map[string]string) error {
	layers := c.someLayers()
	for _, layer := range layers {
		if err := c.bring(repository, layer); err != nil {
			return err
		}
	}
	m := imageOf("", "", layers...)
	if _, err := c.expect(http.StatusCreated, "PUT", "/v2/"+repository+"/manifests/"+tag, m, "Content-Type", imageType); err != nil {
		return err
	}
	if known != nil {
		known[tag] = m
	}
	return nil
}

func (c *client) someTag() (tag string, there bool) {
	if len(c.images) == 0 {
		return "", false
	}
	tags := slices.Sorted(maps.Keys(c.images))
	return tags[c.rnd.IntN(len(tags))], true
}

// pull pulls an image of its own, which must be whole.
func (c *client) pull() error {
	tag, there := c.someTag()
	if !there {
		return nil
	}
	m, err := c.expect(http.StatusOK, "GET", "/v2/"+c.own()+"/manifests/"+tag, "", "Accept", imageType+","+indexType)
	if err != nil {
		return err
	}
	if m != c.images[tag] {
		return fmt.Errorf("the tag %s is %s, want %s", tag, m, c.images[tag])
	}
	return c.pullAll(c.own(), m)
}

// pullShared pulls an image that others may delete meanwhile: its blobs stay for
// the lease.
func (c *client) pullShared() error {
	answer := c.ask("GET", fmt.Sprint("/v2/shared/app/manifests/v", c.rnd.IntN(8)), "", "Accept", imageType)
	switch answer.Code {
	case http.StatusOK:
		return c.pullAll("shared/app", answer.Body.String())
	case http.StatusNotFound:
		return nil
	}
	return fmt.Errorf("pull: %d %s", answer.Code, answer.Body)
}

func (c *client) pullAll(repository, m string) error {
	for _, d := range blobsOf(m) {
		content, err := c.expect(http.StatusOK, "GET", "/v2/"+repository+"/blobs/"+d, "")
		if err != nil {
			return err
		}
		if dgst(content) != d {
			return fmt.Errorf("%s has other bytes", d)
		}
	}
	return nil
}

// blobsOf are the digests of the blobs of a manifest.
func blobsOf(m string) (digests []string) {
	var parsed struct {
		Config struct{ Digest string }
		Layers []struct{ Digest string }
	}
	_ = json.Unmarshal([]byte(m), &parsed)
	if parsed.Config.Digest != "" {
		digests = append(digests, parsed.Config.Digest)
	}
	for _, l := range parsed.Layers {
		digests = append(digests, l.Digest)
	}
	return digests
}

func (c *client) delete() error {
	tag, there := c.someTag()
	if !there {
		return nil
	}
	m := c.images[tag]
	if _, err := c.expect(http.StatusAccepted, "DELETE", "/v2/"+c.own()+"/manifests/"+dgst(m), ""); err != nil {
		return err
	}
	// All tags of it go; those of an index take its children with them.
	maps.DeleteFunc(c.images, func(_, other string) bool { return other == m })
	return nil
}

func (c *client) deleteShared() error {
	answer := c.ask("GET", fmt.Sprint("/v2/shared/app/manifests/v", c.rnd.IntN(8)), "", "Accept", imageType)
	if answer.Code != http.StatusOK {
		return nil
	}
	gone := c.ask("DELETE", "/v2/shared/app/manifests/"+dgst(answer.Body.String()), "")
	if gone.Code != http.StatusAccepted && gone.Code != http.StatusNotFound {
		return fmt.Errorf("delete: %d %s", gone.Code, gone.Body)
	}
	return nil
}

func (c *client) retag() error {
	tag, there := c.someTag()
	if !there {
		return nil
	}
	to, m := fmt.Sprint("v", c.rnd.IntN(6)), c.images[tag]
	mediaType := imageType
	if strings.Contains(m, indexType) {
		mediaType = indexType
	}
	if _, err := c.expect(http.StatusCreated, "PUT", "/v2/"+c.own()+"/manifests/"+to, m, "Content-Type", mediaType); err != nil {
		return err
	}
	c.images[to] = m
	return nil
}

// refer puts something that has an image as its subject, and must be found by it.
func (c *client) refer() error {
	tag, there := c.someTag()
	if !there {
		return nil
	}
	layer := c.layers[c.rnd.IntN(len(c.layers))]
	if err := c.bring(c.own(), layer); err != nil {
		return err
	}
	m := imageOf(fmt.Sprint("signature ", c.number, " ", c.steps), c.images[tag], layer)
	base := "/v2/" + c.own() + "/"
	if _, err := c.expect(http.StatusCreated, "PUT", base+"manifests/"+dgst(m), m, "Content-Type", imageType); err != nil {
		return err
	}
	list, err := c.expect(http.StatusOK, "GET", base+"referrers/"+dgst(c.images[tag]), "")
	if err == nil && !strings.Contains(list, dgst(m)) {
		err = fmt.Errorf("the referrer %s is not listed: %s", dgst(m), list)
	}
	return err
}

// pushIndex pushes an index before its child, which has no tag.
func (c *client) pushIndex() error {
	layers := c.someLayers()
	child := imageOf(fmt.Sprint("child ", c.number, " ", c.steps), "", layers...)
	list := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
		indexType, imageType, dgst(child), len(child))
	tag, base := fmt.Sprint("v", c.rnd.IntN(6)), "/v2/"+c.own()+"/manifests/"
	if _, err := c.expect(http.StatusCreated, "PUT", base+tag, list, "Content-Type", indexType); err != nil {
		return err
	}
	c.images[tag] = list
	for _, layer := range layers {
		if err := c.bring(c.own(), layer); err != nil {
			return err
		}
	}
	_, err := c.expect(http.StatusCreated, "PUT", base+dgst(child), child, "Content-Type", imageType)
	return err
}
