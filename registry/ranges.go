package registry

import (
	"net/http"
	"strconv"
	"strings"
)

// maxRanges is how many parts are answered at once. Each has a header of its own:
// of more, the answer would be mostly headers.
const maxRanges = 64

// plainRange drops a Range that is to be ignored: in another unit, badly written
// (RFC 9110, 14.1.1 and 14.2), or of too many parts. [http.ServeContent] would
// refuse these, or answer them in part. One that ends before it begins it refuses,
// as the specification's suite wants it.
func plainRange(req *http.Request) {
	given := req.Header["Range"]
	if len(given) == 0 {
		return
	}
	unit, set, _ := strings.Cut(given[0], "=")
	ranges := 0
	good := len(given) == 1 && strings.EqualFold(unit, "bytes")
	for one := range strings.SplitSeq(set, ",") {
		if one = strings.Trim(one, " \t"); one != "" {
			ranges++
			good = good && isRange(one)
		}
	}
	if !good || ranges == 0 || ranges > maxRanges {
		req.Header.Del("Range")
		return
	}
	req.Header.Set("Range", "bytes="+set)
}

// isRange reports whether text is from one byte to another, from one on, or the
// last so many.
func isRange(text string) bool {
	first, last, ok := strings.Cut(text, "-")
	if !ok {
		return false
	}
	_, errFrom := strconv.ParseUint(first, 10, 63)
	to, errTo := strconv.ParseUint(last, 10, 63)
	switch {
	case first == "":
		return errTo == nil && to > 0
	case last == "":
		return errFrom == nil
	}
	return errFrom == nil && errTo == nil
}
