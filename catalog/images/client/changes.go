package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"strings"
	"time"
)

// ChangeType is what a [Change] is.
type ChangeType string

// The types of what is followed. There may be further ones.
const (
	// TypePush: a manifest came, with all its tags.
	TypePush ChangeType = "push"
	// TypeTag: tags were set to a manifest that was there.
	TypeTag ChangeType = "tag"
	// TypeUntag: tags were deleted.
	TypeUntag ChangeType = "untag"
	// TypeDelete: manifests were deleted, with their tags.
	TypeDelete ChangeType = "delete"
	// TypeChange: an image is another one, since content came late or went.
	TypeChange ChangeType = "change"

	// TypeBegin: all that is there follows, with [ChangesOptions.Initial]. What was
	// told before counts no more: this comes again if it was cut off before its end.
	TypeBegin ChangeType = "begin"
	// TypeImage: an image that is there.
	TypeImage ChangeType = "image"
	// TypeBookmark: all up to the revision has been told. The first one after a
	// TypeBegin ends what is there.
	TypeBookmark ChangeType = "bookmark"
)

// Change is something that happened in a repository, or, by its type, something
// about the stream.
type Change struct {
	Type ChangeType `json:"type"`
	// Revision is where to go on after this: see [ChangesOptions]. A TypeBegin and a
	// TypeImage have none.
	Revision string    `json:"revision,omitempty"`
	Time     time.Time `json:"time,omitzero"`
	// Repository has its long name: official/nginx.
	Repository string `json:"repository,omitempty"`
	// Digest is the manifest that was pushed, tagged or deleted by name, "" for none.
	Digest string      `json:"digest,omitempty"`
	Tags   []TagChange `json:"tags,omitempty"`
	// By is the account that did it, "" if it is not known or not for this one to see.
	By string `json:"by,omitempty"`
	// Images are those that the change has made or touched, as they are now.
	Images []Image `json:"images,omitempty"`
	// Gone are those that are in the list no longer.
	Gone []GoneImage `json:"gone,omitempty"`
}

// TagChange says where a tag pointed.
type TagChange struct {
	Name string `json:"name"`
	// Digest is where it points since, "" if it is gone.
	Digest string `json:"digest,omitempty"`
	// Previous is where it pointed before, "" if it is new.
	Previous string `json:"previous,omitempty"`
}

// GoneImage is an image that is in the list no longer.
type GoneImage struct {
	UUID   string `json:"uuid"`
	Digest string `json:"digest"`
}

// ChangesOptions say which changes are told.
type ChangesOptions struct {
	// Since is the revision after which to begin; "" means with what comes from now
	// on.
	Since string
	// Initial tells what is there now first, instead: a TypeBegin, a TypeImage for
	// each, what came meanwhile, and a TypeBookmark.
	Initial bool
	// Namespaces are user, user/app or official, Repositories repositories without
	// what lies below them; none means all that one may see.
	Namespaces   []string
	Repositories []string
	Types        []ChangeType
	// OnRetry, if it is not nil, is told why the connection was lost, and how long
	// until the next try. If it returns an error, that ends everything.
	OnRetry func(err error, wait time.Duration) error
}

func (o ChangesOptions) query(since string) url.Values {
	q := url.Values{}
	for _, one := range o.Namespaces {
		q.Add("namespace", one)
	}
	for _, one := range o.Repositories {
		q.Add("repository", one)
	}
	for _, one := range o.Types {
		q.Add("type", string(one))
	}
	if since != "" {
		q.Set("since", since)
	} else if o.Initial {
		q.Set("initial", "true")
	}
	return q
}

// Changes follows what happens, in order and each change at least once, until ctx
// ends, or the first error. Whoever has handled a change may remember its revision,
// and begin after it another time. A bookmark comes when nothing else did for some
// seconds.
//
// When the connection is lost, or berth stops or has too much to do, it is asked
// again, later and later up to half a minute, after the last revision that was told;
// so a change that the loop has seen does not come again. What does not end by
// itself is an error: [IsGone] where berth cannot tell all that came after the
// revision; [*Error] with 400 for a filter that is none, or 401 for a token that is
// not right, once a fresh one of the [TokenSource] is not right either.
//
// The timeout of an [http.Client] does not count for the stream: it may be silent for
// a minute.
func (c *Client) Changes(ctx context.Context, o ChangesOptions) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		f := &follower{client: c, options: o, since: o.Since, yield: yield}
		if err := f.run(ctx); err != nil && !errors.Is(err, errEnough) {
			yield(Change{}, err)
		}
	}
}

// Revision returns the newest revision: all that [Client.List] shows afterwards is at
// least as new.
func (c *Client) Revision(ctx context.Context) (string, error) {
	var changes []Change
	if _, err := c.get(ctx, c.route("/v1/changes", url.Values{"limit": {"1"}}), "changes", &changes); err != nil {
		return "", err
	}
	if len(changes) == 0 || changes[len(changes)-1].Revision == "" {
		return "", errors.New("the newest revision is answered with nothing, which no berth does")
	}
	return changes[len(changes)-1].Revision, nil
}

// received is an object of a stream: a change, or how the stream ends.
type received struct {
	Change
	Status  int    `json:"status"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// typeEnd is the type of the object that ends a stream.
const typeEnd ChangeType = "end"

// readObject reads one object of a stream.
func readObject(line []byte) (received, error) {
	var r received
	if err := json.Unmarshal(line, &r); err != nil {
		return r, fmt.Errorf("%w: %w", errNoBerth, err)
	}
	if r.Type == "" || r.Revision == "" && r.Type != TypeImage && r.Type != typeEnd {
		return r, fmt.Errorf("%w: %.100s", errNoBerth, strings.ToValidUTF8(string(line), "?"))
	}
	return r, nil
}
