package config

import (
	"errors"
	"path"
	"strings"

	"github.com/berth-oci/berth/config/size"
)

// Quotas are quotas for accounts by their names, of which the first that fits
// counts. In the environment they are separated by commas; in the file they are a
// list, or text like that.
type Quotas []NamedQuota

// NamedQuota is a quota for all names of one pattern.
type NamedQuota struct {
	// Pattern is a name in which * and ? stand for others, as in [path.Match].
	Pattern string
	// Quota is in bytes; 0 means none.
	Quota Size
}

// noQuota is how a quota is written that limits nothing.
const noQuota = "none"

// String separates them by commas.
func (q Quotas) String() string {
	all := make([]string, len(q))
	for i, one := range q {
		all[i] = one.Pattern + "=" + one.Quota.String()
		if one.Quota == 0 {
			all[i] = one.Pattern + "=" + noQuota
		}
	}
	return strings.Join(all, ",")
}

// Of returns the quota for a name, in bytes: 0 for none, and where nothing fits.
func (q Quotas) Of(name string) int64 {
	for _, one := range q {
		if fits, _ := path.Match(one.Pattern, name); fits {
			return int64(one.Quota)
		}
	}
	return 0
}

var errQuotas = errors.New("not patterns with sizes")

func parseQuotas(text string) (Quotas, error) {
	var all Quotas
	for one := range strings.SplitSeq(text, ",") {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		pattern, quota, ok := strings.Cut(one, "=")
		if _, err := path.Match(pattern, ""); err != nil || !ok || pattern == "" || strings.ContainsAny(pattern, "/ ") {
			return nil, errQuotas
		}
		if quota == noQuota {
			all = append(all, NamedQuota{pattern, 0})
			continue
		}
		n, err := size.Parse(quota)
		if err != nil || n == 0 {
			return nil, errQuotas
		}
		all = append(all, NamedQuota{pattern, Size(n)})
	}
	return all, nil
}
