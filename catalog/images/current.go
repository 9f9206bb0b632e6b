package images

import (
	"time"

	"github.com/berth-oci/berth/catalog/image"
	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage/reference"
)

// entryCurrent is an image as the platform's current API has it; the order of
// the fields is that of the documents.
type entryCurrent struct {
	UUID        string            `json:"uuid"`
	CreatedAt   string            `json:"created_at"`
	Owner       string            `json:"owner,omitempty"` // only for administrators
	URL         string            `json:"url"`
	Tags        []string          `json:"tags"`
	InitrdOrROM bool              `json:"initrd_or_rom"`
	Size        int64             `json:"size_in_bytes"`
	Args        []string          `json:"args,omitempty"`
	Env         map[string]string `json:"env,omitempty"`
	Users       []string          `json:"users,omitempty"` // only for administrators
	Platforms   []image.Platform  `json:"platforms"`
}

func renderCurrent(c *call, e index.Entry) any {
	name := e.Name()
	if c.opts.IndexHost != "" {
		name = e.Repository // as the platform's command expects it there
	}
	url := name + "@" + e.Digest.String()
	if host := c.host(); host != "" {
		url = host + "/" + url
	}
	var owner string
	var users []string
	if c.caller.Admin() {
		owner = reference.Namespace(e.Repository)
		users = c.opts.Accounts.Current().Readers(e.Repository)
	}
	return entryCurrent{
		Owner: owner, Users: users,
		UUID:        e.UUID().String(),
		CreatedAt:   timestamp(e.Image.Created),
		URL:         url,
		Tags:        append([]string{}, e.Tags...),
		InitrdOrROM: e.Image.Initrd || e.Image.ROM,
		Size:        e.Image.Size,
		Args:        e.Image.Args,
		Env:         e.Image.Env,
		Platforms:   append([]image.Platform{}, e.Image.Platforms...),
	}
}

// RFC 3339 has years of four digits. An image may claim any time, and turned
// to UTC even a valid one may leave that range.
var (
	firstTime = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)
	lastTime  = time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)
)

func timestamp(t time.Time) string {
	t = t.UTC()
	if t.Before(firstTime) {
		t = firstTime
	} else if t.After(lastTime) {
		t = lastTime
	}
	return t.Format(time.RFC3339Nano)
}
