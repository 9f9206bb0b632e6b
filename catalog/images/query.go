package images

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/berth-oci/berth/storage/reference"
)

const (
	// maxCount is the largest count; without a count a list has no limit.
	maxCount = 1<<31 - 1
	// maxItems is how many images are looked up at once, after the spellings of
	// each have been made one; so many values may a query have of digest or tag.
	maxItems = 1000

	wantUUID  = "want a UUID such as 6ba7b810-9dad-11d1-80b4-00c04fd430c8"
	wantOrder = "want asc, desc, PAGINATION_ORDER_ASC or PAGINATION_ORDER_DESC"
	wantSort  = "want create_time or PAGINATION_SORT_BY_CREATE_TIME"
)

// query is what the query string asks for.
type query struct {
	// namespace limits the answer to user, user/app or official; "" does not.
	namespace string
	tagged    bool
	// uuids are items with the distinct UUIDs, items the digests and tags.
	uuids, items []item
	// count is how many images are wanted; 0 means all.
	count int
	// from is where the list starts; nil means at its beginning.
	from *origin
	// byTime orders by creation time, descending turns that around.
	byTime, descending bool
}

// origin is where a list starts: at an image, or else at a time.
type origin struct {
	entry item
	time  time.Time
}

// parameters are the values of the query by the names that the API knows.
type parameters map[string][]string

// known says of each parameter whether it may have several values.
var known = map[string]bool{
	"namespace": false, "tagged": false,
	"uuid": true, "digest": true, "tag": true,
	"count": false, "from": false, "order": false, "sortby": false,
}

var knownNames = slices.Sorted(maps.Keys(known))

// readParameters splits a query as it was sent. The v1 document's examples
// escape = and & for a shell inside of quotes, where the shell leaves the
// backslashes: they arrive at the end of names and values, and are taken off.
// A + stays one: timestamps have it, and no value has a space.
func readParameters(raw string) (parameters, error) {
	p := make(parameters)
	for raw != "" {
		var piece string
		piece, raw, _ = strings.Cut(raw, "&")
		name, value, _ := strings.Cut(piece, "=")
		name, err := url.PathUnescape(name)
		if err != nil {
			continue // no parameter of ours
		}
		name = strings.TrimSuffix(name, `\`)
		several, ok := known[name]
		if !ok {
			if meant := slipOf(name, knownNames...); meant != "" {
				return nil, malformed("query parameter %s: not known; did you mean %s? want one of %s", name, meant, strings.Join(knownNames, ", "))
			}
			continue
		}
		plain, err := url.PathUnescape(value)
		if err != nil {
			return nil, malformed("query parameter %s: %s is not percent-encoded; want %% only before two hexadecimal digits", name, shown(value))
		}
		plain = strings.TrimSuffix(plain, `\`)
		if several {
			p[name] = append(p[name], strings.Split(plain, ",")...)
		} else if given, ok := p[name]; !ok {
			p[name] = []string{plain}
		} else if given[0] != plain {
			return nil, malformed("query parameter %s: given as %s and as %s; want one value", name, shown(given[0]), shown(plain))
		}
	}
	return p, nil
}

// one returns the value of a parameter that may be given once.
func (p parameters) one(name string) (value string, ok bool) {
	values, ok := p[name]
	if !ok {
		return "", false
	}
	return values[0], true
}

// parseQuery reads the query string; its errors are *failure.
func parseQuery(raw string, own hosts) (query, error) {
	var q query
	p, err := readParameters(raw)
	if err != nil {
		return q, err
	}
	if value, ok := p.one("namespace"); ok {
		if !reference.IsName(value) {
			return q, malformed("query parameter namespace: %s is not a namespace; want user, user/app or official; %s", shown(value), wantName)
		}
		q.namespace = value
	}
	if value, ok := p.one("tagged"); ok {
		switch strings.ToLower(value) {
		case "", "true", "1":
			q.tagged = true
		case "false", "0":
		default:
			return q, malformed("query parameter tagged: %s is not a flag; want it alone, or with true, 1, false or 0", shown(value))
		}
	}
	if q.uuids, err = uuidItems(p["uuid"]); err != nil {
		return q, err
	}
	if q.items, err = nameItems(p["digest"], p["tag"], own); err != nil {
		return q, err
	}
	return q, q.page(p, own)
}

// page reads the parameters that order a list and cut it into pages.
func (q *query) page(p parameters, own hosts) error {
	if value, ok := p.one("count"); ok {
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil || n == 0 {
			return malformed("query parameter count: %s is not a count; want a whole number from 1 to %d", shown(value), maxCount)
		}
		q.count, q.byTime = int(n), true
	}
	if value, ok := p.one("order"); ok {
		switch strings.ToLower(value) {
		case "asc", "pagination_order_asc":
		case "desc", "pagination_order_desc":
			q.descending = true
		default:
			return malformed("query parameter order: %s is not an order; %s", shown(value), wantOrder)
		}
		q.byTime = true
	}
	if value, ok := p.one("sortby"); ok {
		switch strings.ToLower(value) {
		case "create_time", "pagination_sort_by_create_time":
		default:
			return malformed("query parameter sortby: %s is nothing to sort by; %s", shown(value), wantSort)
		}
		q.byTime = true
	}
	if value, ok := p.one("from"); ok {
		from, err := parseFrom(value, own)
		if err != nil {
			return err
		}
		q.from, q.byTime = from, true
	}
	return nil
}

// parseFrom reads a UUID, the URL of an entry, or a timestamp.
func parseFrom(value string, own hosts) (*origin, error) {
	if _, ok := parseUUID(value); ok {
		return &origin{entry: item{uuid: value}}, nil
	}
	if strings.Contains(value, "@") {
		if _, err := own.byDigest("query parameter from", value); err != nil {
			return nil, err
		}
		return &origin{entry: item{digest: value}}, nil
	}
	at, err := time.Parse(time.RFC3339Nano, value)
	if err != nil {
		return nil, malformed("query parameter from: %s is no place in the list; want the uuid of an image, its url (host/user/app@sha256:…), or a time such as 2026-01-31T12:00:00Z", shown(value))
	}
	return &origin{time: at.UTC()}, nil
}

// parseUUID accepts the one form of RFC 9562, in either case.
func parseUUID(s string) (uuid.UUID, bool) {
	if len(s) != 36 {
		return uuid.UUID{}, false
	}
	id, err := uuid.Parse(s)
	return id, err == nil
}

// uuidItems makes an item of each UUID; of equal ones, of the first.
func uuidItems(values []string) ([]item, error) {
	var items []item
	seen := make(map[uuid.UUID]struct{}, len(values))
	for _, value := range values {
		id, ok := parseUUID(value)
		if !ok {
			return nil, malformed("query parameter uuid: %s is not a UUID; %s, several of them separated by commas", shown(value), wantUUID)
		}
		if _, again := seen[id]; !again {
			if len(items) == maxItems {
				return nil, malformed("query parameter uuid: more than %d images are asked for; want at most that many at once", maxItems)
			}
			seen[id] = struct{}{}
			items = append(items, item{uuid: value})
		}
	}
	return items, nil
}

// nameItems makes one item of a digest and a tag, or an item of each of
// several digests, or of several tags.
func nameItems(digests, tags []string, own hosts) ([]item, error) {
	digests, tags = slices.Compact(digests), slices.Compact(tags)
	switch {
	case len(digests) > maxItems || len(tags) > maxItems:
		return nil, malformed("query parameters digest and tag: want at most %d values", maxItems)
	case len(digests) > 0 && len(tags) > 0 && len(digests)+len(tags) > 2:
		return nil, malformed("query parameters digest and tag: given %d digests and %d tags; want one of each, or several of one of them", len(digests), len(tags))
	}
	var all items
	for i := range max(len(digests), len(tags)) {
		var it item
		if i < len(digests) {
			if _, err := own.byDigest("query parameter digest", digests[i]); err != nil {
				return nil, err
			}
			it.digest = digests[i]
		}
		if i < len(tags) {
			if _, err := own.byTag("query parameter tag", tags[i]); err != nil {
				return nil, err
			}
			it.tag = tags[i]
		}
		w, err := own.selector(it)
		if err != nil {
			return nil, err
		}
		all.add(it, w) // there cannot be too many
	}
	return all.list, nil
}
