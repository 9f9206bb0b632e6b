package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-oci/berth/storage"
)

const (
	// maxConfig is the size in bytes over which a config is not read.
	maxConfig = 4 << 20
	// maxField is the length in bytes over which a field of a config is not
	// read. It bounds how much memory and index an image takes: JSON such as
	// ["","",…] grows tenfold when it is decoded.
	maxField = 256 << 10
	// maxElements is how many arguments, variables or labels a field of a config
	// may have, over which it is not read either: a list of empty strings takes
	// ten times its bytes wherever it is decoded.
	maxElements = 4096
)

// imageConfig is what berth reads of an image's config (OCI image
// specification, image configuration; Docker's is the same).
type imageConfig struct {
	Created      string `json:"created"`
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	// Config's fields are decoded one by one, and not at all for images that
	// only need some.
	Config struct {
		Env        json.RawMessage `json:"Env"`
		Entrypoint json.RawMessage `json:"Entrypoint"`
		Cmd        json.RawMessage `json:"Cmd"`
		Labels     json.RawMessage `json:"Labels"`
	} `json:"config"`
}

// config reads a config. It is empty if it is not stored, too large, or not
// JSON.
func (d *describer) config(ctx context.Context, dgst digest.Digest) (imageConfig, error) {
	if dgst.Validate() != nil {
		return imageConfig{}, nil
	}
	size, err := d.size(ctx, dgst)
	if err != nil || !size.stored || size.bytes > maxConfig {
		return imageConfig{}, err
	}
	b, err := d.read(ctx, dgst)
	if errors.Is(err, storage.ErrNotFound) {
		return imageConfig{}, nil
	}
	if err != nil {
		return imageConfig{}, fmt.Errorf("reading config %s: %w", dgst, err)
	}
	var conf imageConfig
	if len(b) > maxConfig || !decode(b, &conf) {
		return imageConfig{}, nil
	}
	return conf, nil
}

// read reads a blob up to one byte more than a config may have.
func (d *describer) read(ctx context.Context, dgst digest.Digest) ([]byte, error) {
	blob, err := d.content.Open(ctx, dgst)
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	src := &source{ctx: ctx, blob: blob, allow: maxConfig + 1}
	return io.ReadAll(io.LimitReader(src, maxConfig+1))
}

// args are the image's arguments: Entrypoint, then Cmd.
func (i imageConfig) args() []string {
	return append(stringList(i.Config.Entrypoint), stringList(i.Config.Cmd)...)
}

// environment splits Env at the first "=" of each element. The last of equal
// names wins; an element without "=" has an empty value, one without a name
// is no variable.
func environment(raw json.RawMessage) map[string]string {
	list := stringList(raw)
	if len(list) == 0 {
		return nil
	}
	env := make(map[string]string, len(list))
	for _, element := range list {
		if key, value, _ := strings.Cut(element, "="); key != "" {
			env[key] = value
		}
	}
	return env
}

// labels is empty as a whole if one of them is not a string.
func labels(raw json.RawMessage) map[string]string {
	var object map[string]*string
	if isLarge(raw) || json.Unmarshal(raw, &object) != nil || len(object) == 0 {
		return nil
	}
	labels := make(map[string]string, len(object))
	for key, value := range object {
		if value == nil {
			return nil
		}
		labels[key] = *value
	}
	return labels
}

// isLarge reports whether a field, of which the syntax has been checked, is more
// than is read of one.
func isLarge(raw json.RawMessage) bool {
	if len(raw) == 0 || len(raw) > maxField {
		return len(raw) > 0
	}
	_, long := truncate(raw, maxElements)
	return long || countMembers(raw, maxElements) > maxElements
}

// stringList is empty as a whole if one element is not a string.
func stringList(raw json.RawMessage) []string {
	// Pointers tell null from an empty string.
	var pointers []*string
	if isLarge(raw) || json.Unmarshal(raw, &pointers) != nil || len(pointers) == 0 {
		return nil
	}
	list := make([]string, len(pointers))
	for i, p := range pointers {
		if p == nil {
			return nil
		}
		list[i] = *p
	}
	return list
}

// created is the first of the times that can be read, in UTC, else the zero
// time, which is what tools write that mean none.
func created(times ...string) time.Time {
	for _, s := range times {
		t, err := time.Parse(time.RFC3339, s)
		t = t.UTC()
		// In UTC a time may leave the four digits of RFC 3339, and could then
		// not be written as JSON.
		if err == nil && !t.IsZero() && t.Year() >= 0 && t.Year() <= 9999 {
			return t
		}
	}
	return time.Time{}
}
