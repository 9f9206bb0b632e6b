package network

import (
	"net/netip"
	"testing"
)

func TestInside(t *testing.T) {
	for _, text := range []string{
		"0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.168.1.1", "192.0.0.8",
		"198.18.0.1", "198.51.100.1", "203.0.113.9", "224.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::7f00:1",
		"fe80::1", "fe80::1%eth0", "fc00::1", "fd12:3456::1", "fec0::1", "ff02::1", "2001:db8::1", "2001::1", "64:ff9b::7f00:1", "64:ff9b::a00:1",
		"64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::1", "2002:c0a8:101::",
	} {
		if !Inside(netip.MustParseAddr(text)) {
			t.Errorf("%s is said to be outside", text)
		}
	}
	for _, text := range []string{
		"1.1.1.1", "8.8.8.8", "172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.1", "169.253.0.1", "192.1.0.1", "223.255.255.255", "::ffff:8.8.8.8",
		"2606:4700::1111", "2a00:1450::1", "64:ff9b::808:808", "2002:808:808::1", "2001:4860::1",
	} {
		if Inside(netip.MustParseAddr(text)) {
			t.Errorf("%s is said to be inside", text)
		}
	}
	if !Inside(netip.Addr{}) {
		t.Error("what is no address is said to be outside")
	}
}

func TestRefused(t *testing.T) {
	allowed := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fe80::/10")}
	for text, want := range map[string]bool{
		"8.8.8.8": false, "10.1.2.3": false, "::ffff:10.1.2.3": false, "fe80::1%eth0": false, "127.0.0.1": true, "::1": true, "::ffff:127.0.0.1": true,
	} {
		if Refused(netip.MustParseAddr(text), allowed) != want {
			t.Errorf("%s is refused: %v", text, !want)
		}
	}
	if !Refused(netip.Addr{}, allowed) {
		t.Error("what is no address is not refused")
	}
}
