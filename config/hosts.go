package config

import (
	"errors"
	"net/netip"
	"strings"
)

// Hosts are names of hosts, without ports. In the environment they are separated
// by commas; in the file they are a list, or text like that.
type Hosts []string

// String separates them by commas.
func (h Hosts) String() string { return strings.Join(h, ",") }

func parseHosts(text string) (Hosts, error) {
	var all Hosts
	for one := range strings.SplitSeq(text, ",") {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		if _, err := netip.ParseAddr(one); err != nil && !hostName.MatchString(one) {
			return nil, errors.New("not the name of a host")
		}
		all = append(all, one)
	}
	return all, nil
}
