package images

import (
	"strconv"
	"time"

	"github.com/berth-oci/berth/catalog/index"
	"github.com/berth-oci/berth/storage/reference"
)

// renderCurrent appends an image as the platform's current API has it; the order
// of the fields is that of the documents.
func renderCurrent(c *call, b []byte, e *index.Entry) []byte {
	b = append(append(b, `{"uuid":"`...), e.UUID().String()...)
	b = append(appendTime(append(b, `","created_at":"`...), e.Image.Created), '"')
	admin := c.caller.Admin()
	if owner := reference.Namespace(e.Repository); admin && owner != "" {
		b = appendString(append(b, `,"owner":`...), owner)
	}
	name := e.Name()
	if c.opts.IndexHost != "" {
		name = e.Repository // as the platform's command expects it there
	}
	b = append(b, `,"url":"`...)
	if host := c.host(); host != "" {
		b = append(appendText(b, host), '/')
	}
	b = append(appendReference(b, name, '@', string(e.Digest)), '"')
	b = appendStrings(append(b, `,"tags":`...), e.Tags)
	b = strconv.AppendBool(append(b, `,"initrd_or_rom":`...), e.Image.Initrd || e.Image.ROM)
	b = strconv.AppendInt(append(b, `,"size_in_bytes":`...), e.Image.Size, 10)
	if len(e.Image.Args) > 0 {
		b = appendStrings(append(b, `,"args":`...), e.Image.Args)
	}
	if len(e.Image.Env) > 0 {
		b = appendMap(append(b, `,"env":`...), e.Image.Env)
	}
	if admin {
		if users := c.readers(e.Repository); len(users) > 0 {
			b = appendStrings(append(b, `,"users":`...), users)
		}
	}
	b = append(b, `,"platforms":[`...)
	for i := range e.Image.Platforms {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendPlatform(b, &e.Image.Platforms[i])
	}
	return append(b, "]}"...)
}

// readers are the accounts that may read a repository. They are worked out once
// for the images of one that follow each other, while the same accounts are in
// force: a stream may go on for days.
func (c *call) readers(repository string) []string {
	now := c.opts.Accounts.Current()
	if c.readersIn != now || c.readersOf != repository {
		c.readersIn, c.readersOf, c.readerNames = now, repository, now.Readers(repository)
	}
	return c.readerNames
}

// RFC 3339 has years of four digits. An image may claim any time, and turned
// to UTC even a valid one may leave that range.
var (
	firstTime = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)
	lastTime  = time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)
)

func timestamp(t time.Time) string { return string(appendTime(nil, t)) }

func appendTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	if t.Before(firstTime) {
		t = firstTime
	} else if t.After(lastTime) {
		t = lastTime
	}
	return t.AppendFormat(b, time.RFC3339Nano)
}
