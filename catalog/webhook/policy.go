package webhook

import (
	"fmt"
	"net/netip"
	"syscall"

	"github.com/berth-oci/berth/config/network"
)

// Policy says which addresses may be sent to: all that are of the public internet,
// and what lies inside the network only where it is allowed.
type Policy struct {
	// Inside are the networks that are allowed.
	Inside []netip.Prefix
}

// RefusedError is an address that a policy does not allow.
type RefusedError struct{ Address netip.Addr }

// Error says which setting would allow it.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("%s is an address inside the network, to which nothing is sent unless events.internal_networks allows it", e.Address)
}

// Check returns a *RefusedError for an address that may not be sent to.
func (p Policy) Check(address netip.Addr) error {
	if network.Refused(address, p.Inside) {
		return &RefusedError{address.Unmap().WithZone("")}
	}
	return nil
}

// control is called by a dialer with each address that it is about to connect to,
// after names were resolved.
func (p Policy) control(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%q is no address", address)
	}
	return p.Check(at.Addr())
}
