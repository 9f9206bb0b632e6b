package images

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/berth-oci/berth/registry/budget"
)

// maxYAML is the size in bytes of the largest body that is read as YAML, which
// costs many times the time and memory of JSON. YAML is for what people type.
const maxYAML = 64 << 10

const wantBody = `want {"digest":"user/app@sha256:…"}, {"tag":"user/app:tag"} or {"uuid":"…"}, or an array of such objects`

// readBody reads the body whole, whatever method and Content-Type it came with.
func readBody(w http.ResponseWriter, r *http.Request, held *budget.Hold, most int64) ([]byte, error) {
	tooLarge := &failure{http.StatusRequestEntityTooLarge, fmt.Sprintf("body: too large; want at most %d bytes", most)}
	if r.ContentLength > most {
		// What is still to come is not worth reading.
		w.Header().Set("Connection", "close")
		return nil, tooLarge
	}
	body, err := held.ReadAll(r.Context(), http.MaxBytesReader(w, r.Body, most), r.ContentLength)
	var limit *http.MaxBytesError
	switch {
	case errors.As(err, &limit):
		return nil, tooLarge
	case errors.Is(err, budget.ErrFull):
		w.Header().Set("Connection", "close")
		return nil, err
	case err != nil:
		w.Header().Set("Connection", "close")
		return nil, malformed("body: cut off after %d bytes; want as many as Content-Length says, or chunks up to the last", len(body))
	}
	return body, nil
}

// parseBody reads the items that a body asks for, each once; none means that
// it asks for nothing. The body is JSON, or else, if it is small, YAML: the v1
// document's example quotes its strings with single quotes. Errors are
// *failure and name an item of an array by its position, from 1.
func parseBody(body []byte, own hosts) ([]item, error) {
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return nil, nil
	}
	c := collector{own: own}
	var err error
	switch {
	case json.Valid(body):
		err = c.readJSON(body)
	case len(body) <= maxYAML:
		err = c.readYAML(body)
	default:
		err = malformed("body: not JSON, and too large to be read as YAML (at most %d bytes); %s", maxYAML, wantBody)
	}
	if err != nil {
		return nil, err
	}
	if c.empty > 0 && len(c.items.list) > 0 {
		return nil, malformed("body: item %d has neither digest nor tag nor uuid; %s", c.empty, wantBody)
	}
	return c.items.list, nil
}

// fields are an object of the body; nil is what was not given.
type fields struct {
	digest, tag, tagged, uuid *string
	// known is set once there is a key that is, unknown are some that are not.
	known   bool
	unknown []string
}

// fieldNames are the keys that are known.
var fieldNames = []string{"digest", "tag", "tagged", "uuid"}

// field returns where to put the value of a key; nil if the key is unknown. One
// that looks like a slip of a known one is an error.
func (c *collector) field(f *fields, key string) (**string, error) {
	var at **string
	switch key {
	case "digest":
		at = &f.digest
	case "tag":
		at = &f.tag
	case "tagged":
		at = &f.tagged
	case "uuid":
		at = &f.uuid
	}
	if at != nil {
		f.known = true
		return at, nil
	}
	if meant := slipOf(key, fieldNames...); meant != "" {
		return nil, malformed("%skey %s is not known; did you mean %s? %s", c.place(), key, meant, wantBody)
	}
	const most = 3 // that a message names
	if len(f.unknown) < most {
		f.unknown = append(f.unknown, shown(key))
	}
	return nil, nil
}

// collector gathers the checked items of a body.
type collector struct {
	own   hosts
	items items
	// array is set if the body is an array; n is the position in it, empty
	// that of the first object that asks for nothing.
	array    bool
	n, empty int
}

// place names the object that is being read.
func (c *collector) place() string {
	if c.array {
		return fmt.Sprintf("body: item %d: ", c.n)
	}
	return "body: "
}

func (c *collector) wrongField(key string) error {
	form := wantTag
	switch key {
	case "digest":
		form = wantDigest
	case "uuid":
		form = wantUUID
	}
	return malformed("%s%s is not a string; %s", c.place(), key, form)
}

func (c *collector) wrongItem() error {
	return malformed("%snot an object; %s", c.place(), wantBody)
}

// add checks an object and keeps what it asks for, if it is new.
func (c *collector) add(f fields) error {
	if f.tagged != nil {
		if f.tag != nil && *f.tag != *f.tagged {
			return malformed("%stag is %s and tagged is %s, which mean the same; want one of them", c.place(), shown(*f.tag), shown(*f.tagged))
		}
		f.tag = f.tagged
	}
	if !f.known && len(f.unknown) > 0 {
		return malformed("%sno key of it is known (%s); %s", c.place(), strings.Join(f.unknown, ", "), wantBody)
	}
	if f.digest == nil && f.tag == nil && f.uuid == nil {
		if c.empty == 0 {
			c.empty = c.n
		}
		return nil
	}
	var it item
	if f.digest != nil {
		it.digest = *f.digest
		if _, err := c.own.byDigest(c.place()+"digest", it.digest); err != nil {
			return err
		}
	}
	if f.tag != nil {
		it.tag = *f.tag
		if _, err := c.own.byTag(c.place()+"tag", it.tag); err != nil {
			return err
		}
	}
	if f.uuid != nil {
		it.uuid = *f.uuid
		if _, ok := parseUUID(it.uuid); !ok {
			return malformed("%suuid: %s is not a UUID; %s", c.place(), shown(it.uuid), wantUUID)
		}
	}
	w, err := c.own.selector(it)
	if err != nil {
		return err
	}
	if !c.items.add(it, w) {
		return malformed("%smore than %d images are asked for; want at most that many at once", c.place(), maxItems)
	}
	return nil
}

// readJSON reads a body that is valid JSON, one object at a time.
func (c *collector) readJSON(body []byte) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber() // numbers of any size may stand under keys that are not ours
	switch body[0] {
	case 'n':
		return nil
	case '[':
		c.array = true
		if _, err := dec.Token(); err != nil {
			return c.wrongItem()
		}
		for dec.More() {
			if err := c.readObject(dec); err != nil {
				return err
			}
		}
		return nil
	}
	return c.readObject(dec)
}

func (c *collector) readObject(dec *json.Decoder) error {
	c.n++
	if token, err := dec.Token(); err != nil || token != json.Delim('{') {
		return c.wrongItem()
	}
	var f fields
	for dec.More() {
		token, err := dec.Token()
		key, ok := token.(string)
		if err != nil || !ok {
			return c.wrongItem()
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return c.wrongItem()
		}
		field, err := c.field(&f, key)
		if err != nil {
			return err
		}
		if field != nil {
			*field = nil
			if err := json.Unmarshal(raw, field); err != nil {
				return c.wrongField(key)
			}
		}
	}
	if _, err := dec.Token(); err != nil {
		return c.wrongItem()
	}
	return c.add(f)
}

// readYAML reads a body that is one small YAML document.
func (c *collector) readYAML(body []byte) error {
	unreadable := malformed("body: neither JSON nor YAML; %s", wantBody)
	dec := yaml.NewDecoder(bytes.NewReader(body))
	var document, next yaml.Node
	switch err := dec.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil // comments only
	case err != nil:
		return unreadable
	}
	if !errors.Is(dec.Decode(&next), io.EOF) {
		return unreadable
	}
	if document.Kind != yaml.DocumentNode || len(document.Content) != 1 {
		return unreadable
	}
	root := document.Content[0]
	if aliased(root) {
		return malformed("body: YAML anchors and aliases are not read; %s", wantBody)
	}
	switch {
	case root.ShortTag() == "!!null":
		return nil
	case root.Kind == yaml.SequenceNode:
		c.array = true
		for _, node := range root.Content {
			if err := c.readMapping(node); err != nil {
				return err
			}
		}
		return nil
	}
	return c.readMapping(root)
}

func (c *collector) readMapping(node *yaml.Node) error {
	c.n++
	if node.Kind != yaml.MappingNode {
		return c.wrongItem()
	}
	var f fields
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			continue
		}
		field, err := c.field(&f, key.Value)
		if err != nil {
			return err
		}
		if field == nil {
			continue
		}
		switch {
		case value.Kind == yaml.ScalarNode && value.ShortTag() == "!!str":
			*field = &value.Value
		case value.ShortTag() == "!!null":
			*field = nil
		default:
			return c.wrongField(key.Value)
		}
	}
	return c.add(f)
}

// aliased reports whether a node or one below it is an alias, or can be the
// target of one: a few lines of them may stand for gigabytes.
func aliased(node *yaml.Node) bool {
	if node.Kind == yaml.AliasNode || node.Anchor != "" {
		return true
	}
	for _, child := range node.Content {
		if aliased(child) {
			return true
		}
	}
	return false
}
