package config

import (
	"slices"
	"strings"
	"testing"
)

// TestQuotas writes them in each way that is taken, and asks for names.
func TestQuotas(t *testing.T) {
	want := Quotas{{"root", 0}, {"ci-*", 1 << 30}, {"*", 10 << 30}}
	for _, c := range []*Config{
		load(t, "accounts: {default_quotas: [root=none, ci-*=1GiB, '*=10GiB']}"),
		load(t, "accounts: {default_quotas: ' root=none, ci-*=1GiB,*=10GiB, '}"),
		load(t, "", "BERTH_ACCOUNTS_DEFAULT_QUOTAS=root=none,ci-*=1024MiB,*=10GiB"),
	} {
		got := c.Accounts.DefaultQuotas
		if !slices.Equal(got, want) || got.String() != "root=none,ci-*=1GiB,*=10GiB" {
			t.Errorf("got %v", got)
		}
		for name, want := range map[string]int64{"root": 0, "ci-1": 1 << 30, "ci-": 1 << 30, "ci": 10 << 30, "alice": 10 << 30} {
			if got := got.Of(name); got != want {
				t.Errorf("%s: got %d", name, got)
			}
		}
	}
	if got := want[:2].Of("alice"); got != 0 {
		t.Errorf("where nothing fits: got %d", got)
	}
	for _, text := range []string{"alice", "=1GiB", "a=", "a=0", "a=-1", "a=1GB", "a=lots", "[=1GiB", "a/b=1GiB", "a b=1GiB", "a=1GiB=2GiB", "alice: 1GiB"} {
		_, err := Load("", []string{"BERTH_ACCOUNTS_DEFAULT_QUOTAS=" + text})
		if err == nil || !strings.Contains(err.Error(), "is not patterns of names with their quotas, like ci-*=1GiB or *=none, separated by commas or in a list") {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{"accounts: {default_quotas: [[a=1GiB]]}", "accounts: {default_quotas: {a: 1GiB}}", "accounts: {default_quota: a=1GiB}"} {
		if _, err := Load(write(t, text), nil); err == nil {
			t.Errorf("%s is accepted", text)
		}
	}
}
