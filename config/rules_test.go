package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func loadRules(t *testing.T, text string) (*Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "berth.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(file, nil)
	if err == nil {
		err = c.Validate()
	}
	return c, err
}

const someRules = `
rules:
  interval: 6h
  default:
    untagged:
      older_than: 30d
    tags:
    - match: ["pr-*", branch]
      older_than: 12h30m
    - match: v*
      keep_last: 5
    - keep_last: 2
      older_than: 1d
    immutable: ["v[0-9]*", latest]
  namespaces:
    alice: {}
    bob:
      immutable: "*"
`

// TestRules reads the rules, also as they are printed, and from variables.
func TestRules(t *testing.T) {
	want := Rules{
		Interval: 6 * time.Hour,
		Default: RuleSet{
			Untagged: 30 * day,
			Tags: []TagRule{
				{Match: []string{"pr-*", "branch"}, OlderThan: 12*time.Hour + 30*time.Minute},
				{Match: []string{"v*"}, KeepLast: 5},
				{KeepLast: 2, OlderThan: day},
			},
			Immutable: []string{"v[0-9]*", "latest"},
		},
		Namespaces: RuleSets{"alice": {}, "bob": {Immutable: []string{"*"}}},
	}
	c, err := loadRules(t, someRules)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(c.Rules, want) {
		t.Errorf("got %+v, want %+v", c.Rules, want)
	}
	var printed strings.Builder
	if err := c.Write(&printed); err != nil {
		t.Fatal(err)
	}
	_, rules, _ := strings.Cut(printed.String(), "\nrules:")
	again, err := loadRules(t, "rules:"+rules)
	if err != nil || !reflect.DeepEqual(again.Rules, want) {
		t.Errorf("as printed: got %+v, %v\n%s", again.Rules, err, rules)
	}
	c, err = Load("", []string{
		"BERTH_RULES_INTERVAL=6h", "BERTH_RULES_DEFAULT=" + format(&want.Default), "BERTH_RULES_NAMESPACES=" + format(&want.Namespaces),
	})
	if err != nil || !reflect.DeepEqual(c.Rules, want) {
		t.Errorf("from variables: got %+v, %v", c.Rules, err)
	}
}

// TestWrongRules says what is wrong with rules, where, and what was meant.
func TestWrongRules(t *testing.T) {
	for text, want := range map[string]string{
		"default: {untaged: {older_than: 30d}}":              `rules.default: unknown key "untaged"; did you mean untagged?`,
		"default: {xyz: 1}":                                  `rules.default: unknown key "xyz"; there are immutable, tags, untagged`,
		"default: {untagged: {age: 30d}}":                    `rules.default.untagged: unknown key "age"; there are older_than`,
		"default: {untagged: {older_than: 30 days}}":         `rules.default.untagged.older_than: "30 days" is not an age like 30d or 12h`,
		"default: {untagged: {older_than: 0}}":               `"0" is not an age like 30d or 12h`,
		"default: {untagged: {older_than: -3d}}":             `"-3d" is not an age like 30d or 12h`,
		"default: {untagged: {older_than: 9999999999d}}":     `"9999999999d" is not an age like 30d or 12h`,
		"default: {untagged: {}}":                            `rules.default.untagged: says nothing; give older_than, like 30d, or leave it out`,
		"default: {untagged: 30d}":                           `rules.default.untagged: is text, not a mapping of keys`,
		"default: {tags: {keep_last: 1}}":                    `rules.default.tags: is a mapping, not a list of rules`,
		"default: {tags: [{match: v*}]}":                     `rules.default.tags[0]: says nothing of when a tag goes; give keep_last, older_than or both`,
		"default: {tags: [{keep_last: 0}]}":                  `rules.default.tags[0].keep_last: "0" is not a whole number from 1 on`,
		"default: {tags: [{keep_last: few}]}":                `rules.default.tags[0].keep_last: "few" is not a whole number from 1 on`,
		"default: {tags: [{keeplast: 1}]}":                   `rules.default.tags[0]: unknown key "keeplast"; did you mean keep_last?`,
		"default: {tags: [{keep_last: 1, keep_last: 2}]}":    `rules.default.tags[0].keep_last: is set twice`,
		"default: {tags: [{keep_last: 1, match: []}]}":       `rules.default.tags[0].match: is empty; "*" is every tag`,
		`default: {tags: [{keep_last: 1, match: "v["}]}`:     `rules.default.tags[0].match: "v[" is not a pattern of tags`,
		`default: {immutable: ["v/1"]}`:                      `rules.default.immutable: "v/1" is not a pattern of tags`,
		"default: {immutable: {v: 1}}":                       `rules.default.immutable: is a mapping, not a pattern of tags or a list of them`,
		"default: [a]":                                       `rules.default: is a list, not a mapping of keys`,
		"namespaces: {Alice: {}}":                            `rules.namespaces: "Alice" is no namespace: it is the first part of a repository's name`,
		"namespaces: {alice/app: {}}":                        `rules.namespaces: "alice/app" is no namespace`,
		"namespaces: {alice: {}, alice: {}}":                 `rules.namespaces.alice: is set twice`,
		"namespaces: {alice: {untagged: {older_than: x}}}":   `rules.namespaces.alice.untagged.older_than: "x" is not an age`,
		"namespaces: [alice]":                                `rules.namespaces: is a list, not a mapping of namespaces`,
		"interval: 5s":                                       `rules.interval: 5s is too short; at least 1m, or 0 for none in the background`,
		"defaults: {}":                                       `rules.defaults: unknown key; did you mean rules.default?`,
		"default: {tags: [{keep_last: 1, older_than: [1]}]}": `rules.default.tags[0].older_than: a list is not an age`,
	} {
		if _, err := loadRules(t, "rules:\n  "+text+"\n"); err == nil || !strings.Contains(err.Error(), "berth.yaml:2: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
	for variable, want := range map[string]string{
		"BERTH_RULES_DEFAULT={untaged: 1}":    `BERTH_RULES_DEFAULT: unknown key "untaged"; did you mean untagged?`,
		"BERTH_RULES_DEFAULT={":               `BERTH_RULES_DEFAULT: "{" is not YAML`,
		"BERTH_RULES_NAMESPACES={a: {x: []}}": `BERTH_RULES_NAMESPACES: .a: unknown key "x"`,
	} {
		if _, err := Load("", []string{variable}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", variable, err, want)
		}
	}
}
