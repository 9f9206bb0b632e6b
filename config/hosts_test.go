package config

import (
	"slices"
	"testing"
)

// TestHosts writes them in each way that is taken.
func TestHosts(t *testing.T) {
	want := Hosts{"registry.lan", "berth", "::1"}
	for _, c := range []*Config{
		load(t, "http: {hosts: [registry.lan, berth, '::1']}"),
		load(t, "http: {hosts: 'registry.lan, berth, ::1,'}"),
		load(t, "", "BERTH_HTTP_HOSTS=registry.lan,berth,::1"),
	} {
		if !slices.Equal(c.HTTP.Hosts, want) {
			t.Errorf("got %q", c.HTTP.Hosts)
		}
	}
	for _, text := range []string{"http: {hosts: 'registry.lan:5000'}", "http: {hosts: ['http://a']}", "http: {hosts: [[a]]}", "http: {hosts: 'a b'}", "http: {hosts: ['*.lan']}"} {
		if _, err := Load(write(t, text), nil); err == nil {
			t.Errorf("%s is accepted", text)
		}
	}
}
