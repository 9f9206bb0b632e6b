// Package network says which addresses are inside the network: to these, what
// somebody configures or asks for must not send berth unless it is allowed.
package network

import (
	"net/netip"
	"slices"
)

// special are addresses that no host of the internet has, by IANA's registries of
// special-purpose addresses, or that lead to what is inside.
var special = prefixes(
	"0.0.0.0/8",       // this network: Linux connects to itself
	"10.0.0.0/8",      // private
	"100.64.0.0/10",   // of carriers
	"127.0.0.0/8",     // loopback
	"169.254.0.0/16",  // link-local: where clouds tell machines their secrets
	"172.16.0.0/12",   // private
	"192.0.0.0/24",    // of protocols
	"192.0.2.0/24",    // documentation
	"192.88.99.0/24",  // relays, given up
	"192.168.0.0/16",  // private
	"198.18.0.0/15",   // benchmarks
	"198.51.100.0/24", // documentation
	"203.0.113.0/24",  // documentation
	"224.0.0.0/4",     // multicast
	"240.0.0.0/4",     // reserved, and broadcast
	"::/96",           // unspecified, loopback, and IPv4 in an old form
	"64:ff9b:1::/48",  // translated to addresses inside
	"100::/64",        // thrown away
	"2001::/23",       // of protocols, Teredo among them
	"2001:db8::/32",   // documentation
	"3fff::/20",       // documentation
	"5f00::/16",       // segment routing
	"fc00::/7",        // private
	"fe80::/10",       // link-local
	"fec0::/10",       // of a site, given up
	"ff00::/8",        // multicast
)

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

var (
	translated = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour  = netip.MustParsePrefix("2002::/16")
)

// Inside reports whether an address leads somewhere that is not the public internet:
// to this machine, a private network, or nowhere. IPv4 within IPv6 is looked into.
func Inside(address netip.Addr) bool {
	address = address.Unmap().WithZone("")
	if !address.IsValid() {
		return true
	}
	for _, network := range special {
		if network.Contains(address) {
			return true
		}
	}
	// An IPv4 address may be within: the network leads there.
	bytes := address.As16()
	switch {
	case translated.Contains(address):
		return Inside(netip.AddrFrom4([4]byte(bytes[12:16])))
	case sixToFour.Contains(address):
		return Inside(netip.AddrFrom4([4]byte(bytes[2:6])))
	}
	return false
}

// Refused reports whether an address is inside the network, and in none of those that
// are allowed.
func Refused(address netip.Addr, allowed []netip.Prefix) bool {
	if !Inside(address) {
		return false
	}
	address = address.Unmap().WithZone("")
	return !slices.ContainsFunc(allowed, func(p netip.Prefix) bool { return p.Contains(address) })
}
