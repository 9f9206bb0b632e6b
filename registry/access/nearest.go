package access

import (
	"github.com/berth-oci/berth/config/nearest"
	"github.com/berth-oci/berth/storage/reference"
)

// meant names the known name that is nearest to one that is not known, as the
// end of a message; "" if none is near.
func meant(name string, known []string) string {
	if len(name) > reference.MaxName {
		return ""
	}
	best, near := nearest.Of(name, known)
	if !near {
		return ""
	}
	return "; did you mean " + best + "?"
}
