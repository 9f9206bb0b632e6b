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
	// maxNamespaces is how many namespaces a list is read from at once.
	maxNamespaces = 100

	wantUUID  = "want a UUID such as 6ba7b810-9dad-11d1-80b4-00c04fd430c8"
	wantOrder = "want asc, desc, PAGINATION_ORDER_ASC or PAGINATION_ORDER_DESC"
	wantSort  = "want create_time or PAGINATION_SORT_BY_CREATE_TIME"
)

// query is what the query string asks for.
type query struct {
	// namespaces limit the answer to what lies in one of them: user, user/app or
	// official; none does not.
	namespaces []string
	tagged     bool
	// details, unless nil, asks for the control plane's list, with or without tags.
	details *bool
	// uuids are items with the distinct UUIDs, items the digests and tags.
	uuids, items []item
	// count is how many images are wanted; 0 means all.
	count int
	// from is where the list starts, after what it starts behind; nil means at its
	// beginning. At most one is given.
	from, after *origin
	// byTime orders by creation time, descending turns that around.
	byTime, descending bool
}

// origin is where a list starts: at an image, at the end of a page, or else at a
// time.
type origin struct {
	entry  item
	cursor string
	time   time.Time
}

// parameters are the values of the query by the names that the API knows.
type parameters map[string][]string

// how says how often a parameter may have a value.
type how int

const (
	once     how = iota
	repeated     // any of several values
	listed       // the same, and a value may be several, separated by commas
)

// known are the parameters of lists and lookups.
var known = map[string]how{
	"namespace": repeated, "tagged": once, "details": once,
	"uuid": listed, "digest": listed, "tag": listed,
	"count": once, "from": once, "after": once, "order": once, "sortby": once,
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
		times, ok := known[name]
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
		switch given, again := p[name]; {
		case times == listed:
			p[name] = append(given, strings.Split(plain, ",")...)
		case times == repeated || !again:
			p[name] = append(given, plain)
		case given[0] != plain:
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
	if q.namespaces, err = namespaces(p["namespace"]); err != nil {
		return q, err
	}
	if q.tagged, _, err = p.flag("tagged"); err != nil {
		return q, err
	}
	if details, ok, err := p.flag("details"); err != nil {
		return q, err
	} else if ok {
		q.details = &details
	}
	if q.uuids, err = uuidItems(p["uuid"]); err != nil {
		return q, err
	}
	if q.items, err = nameItems(p["digest"], p["tag"], own); err != nil {
		return q, err
	}
	return q, q.page(p, own)
}

// flag returns the value of a parameter that is a flag, and whether it is given.
func (p parameters) flag(name string) (set, given bool, err error) {
	value, given := p.one(name)
	if !given {
		return false, false, nil
	}
	switch strings.ToLower(value) {
	case "", "true", "1":
		return true, true, nil
	case "false", "0":
		return false, true, nil
	}
	return false, true, malformed("query parameter %s: %s is not a flag; want it alone, or with true, 1, false or 0", name, shown(value))
}

// namespaces reads the values of namespace, each once.
func namespaces(values []string) ([]string, error) {
	var all []string
	for _, value := range values {
		if !reference.IsName(value) {
			return nil, malformed("query parameter namespace: %s is not a namespace; want user, user/app or official; %s", shown(value), wantName)
		}
		if !slices.Contains(all, value) {
			all = append(all, value)
		}
		if len(all) > maxNamespaces {
			return nil, malformed("query parameter namespace: more than %d are given; want at most that many at once", maxNamespaces)
		}
	}
	return all, nil
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
	for name, into := range map[string]**origin{"from": &q.from, "after": &q.after} {
		value, ok := p.one(name)
		if !ok {
			continue
		}
		place, err := parseOrigin(name, value, own)
		if err != nil {
			return err
		}
		*into, q.byTime = place, true
	}
	if q.from != nil && q.after != nil {
		return malformed("query parameters from and after: both are given; want one of them: from is in the page, after is not")
	}
	return nil
}

const wantPlace = "want the uuid of an image, its url (host/user/app@sha256:…), or a time such as 2026-01-31T12:00:00Z"

// parseOrigin reads a UUID, the URL of an entry, a timestamp, or, as after, what
// the link to a next page has.
func parseOrigin(name, value string, own hosts) (*origin, error) {
	if _, ok := parseUUID(value); ok {
		return &origin{entry: item{uuid: value}}, nil
	}
	if strings.Contains(value, "@") {
		if _, err := own.byDigest("query parameter "+name, value); err != nil {
			return nil, err
		}
		return &origin{entry: item{digest: value}}, nil
	}
	if at, err := time.Parse(time.RFC3339Nano, value); err == nil {
		return &origin{time: at.UTC()}, nil
	}
	if name == "after" {
		if strings.HasPrefix(value, cursorPrefix) {
			return &origin{cursor: value}, nil
		}
		return nil, malformed("query parameter after: %s is no place in the list; %s, or the value in the link to a next page", shown(value), wantPlace)
	}
	return nil, malformed("query parameter %s: %s is no place in the list; %s", name, shown(value), wantPlace)
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
