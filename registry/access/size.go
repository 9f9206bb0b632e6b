package access

import (
	"errors"

	"github.com/berth-oci/berth/config/size"
)

var errSize = errors.New("wants to be a size like 10GiB (KiB, MiB, GiB, TiB, or a number of bytes), more than 0")

// ParseQuota reads how many bytes a namespace may hold, as [size.Parse] does.
// It is more than 0.
func ParseQuota(text string) (int64, error) {
	n, err := size.Parse(text)
	if err != nil || n == 0 {
		return 0, errSize
	}
	return n, nil
}
