package access

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

var units = []struct {
	name string
	size int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

var errSize = errors.New("wants to be a size like 10GiB (KiB, MiB, GiB, TiB, or a number of bytes), more than 0")

// ParseQuota reads a size: a number of bytes, or one with a unit from KiB to
// TiB. It is more than 0.
func ParseQuota(text string) (int64, error) {
	unit := int64(1)
	for _, u := range units {
		if number, ok := strings.CutSuffix(text, u.name); ok {
			text, unit = strings.TrimSpace(number), u.size
			break
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 || n > math.MaxInt64/unit {
		return 0, errSize
	}
	return n * unit, nil
}

// FormatQuota writes a size with the largest unit that divides it.
func FormatQuota(n int64) string {
	for _, u := range units {
		if n != 0 && n%u.size == 0 {
			return fmt.Sprintf("%d%s", n/u.size, u.name)
		}
	}
	return strconv.FormatInt(n, 10)
}
