package main

import (
	"strings"
	"testing"
)

// TestUnknownCommands wants a mistyped subcommand to fail, and to say what was
// meant, at every depth.
func TestUnknownCommands(t *testing.T) {
	for line, meant := range map[string]string{
		"serv": "berth serve", "acount list": "berth account", "account ad alice": "berth account add",
		"account lst": "berth account list", "account token revok alice x": "berth account token revoke", "config chek": "berth config check",
		"account zzzzzz": "", "config zzzzzz": "", "zzzzzz": "", "account token zzzzzz": "",
	} {
		out, err := run(t, t.TempDir(), strings.Fields(line)...)
		if err == nil || !strings.Contains(err.Error(), "unknown command") || out != "" {
			t.Errorf("%s: got %v and %q", line, err, out)
			continue
		}
		if hint := "did you mean " + meant + "?"; meant != "" && !strings.Contains(err.Error(), hint) {
			t.Errorf("%s: does not say %q: %v", line, hint, err)
		}
		if meant == "" && !strings.Contains(err.Error(), "--help") {
			t.Errorf("%s: says nothing of --help: %v", line, err)
		}
	}
	for _, line := range []string{"", "account", "account token", "config", "help account", "account --help", "completion bash"} {
		if out, err := run(t, t.TempDir(), strings.Fields(line)...); err != nil || out == "" {
			t.Errorf("%q: got %v and %.100q", line, err, out)
		}
	}
}
