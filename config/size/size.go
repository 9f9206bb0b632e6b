// Package size reads and writes numbers of bytes as people do: in the
// configuration, in the accounts file, in flags and in messages.
package size

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"

	"github.com/dustin/go-humanize"
)

var units = []struct {
	name  string
	bytes int64
}{{"TiB", humanize.TiByte}, {"GiB", humanize.GiByte}, {"MiB", humanize.MiByte}, {"KiB", humanize.KiByte}}

// form is less than the library reads. It takes GB, g and 1.5GiB too, where
// people may mean other numbers than it does, or what cannot be written back.
var form = regexp.MustCompile(`^[0-9]+(?:\s*[KMGT]iB)?$`)

var errForm = errors.New("not a whole number of bytes, KiB, MiB, GiB or TiB")

// Parse reads a number of bytes: a whole number, alone or with one of the units
// KiB, MiB, GiB and TiB. It is exact, and never negative.
func Parse(text string) (int64, error) {
	if !form.MatchString(text) {
		return 0, errForm
	}
	n, err := humanize.ParseBytes(text)
	if err != nil || n > math.MaxInt64 {
		return 0, errForm
	}
	return int64(n), nil
}

// Format writes a number of bytes exactly, with the largest unit that divides
// it: 1536MiB. [Parse] reads it again.
func Format(n int64) string {
	for _, u := range units {
		if n != 0 && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// Text writes a number of bytes for people, to one decimal place: 1.5 GiB.
func Text(n int64) string {
	for _, u := range units {
		if n >= u.bytes {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.bytes), u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}
