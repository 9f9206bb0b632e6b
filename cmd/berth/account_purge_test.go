package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
)

// pushedTo is a namespace to which others go on pushing.
type pushedTo struct {
	coming  [][]string // what is there at each look
	looks   int
	refuses string
}

func (p *pushedTo) repositories(context.Context) ([]string, error) {
	p.looks++
	return p.coming[min(p.looks, len(p.coming))-1], nil
}

func (p *pushedTo) clear(_ context.Context, repository string) error {
	if repository == p.refuses {
		return errors.New("refused")
	}
	return nil
}

func (p *pushedTo) close() error { return nil }

// What comes while a namespace is emptied goes too, and who pushes for ever is not
// waited for.
func TestPurgeMeanwhile(t *testing.T) {
	for _, test := range []struct {
		held pushedTo
		gone string
		says string
	}{
		{pushedTo{coming: [][]string{nil}}, "", ""},
		{pushedTo{coming: [][]string{{"a/x", "a/y"}, {"a/y", "a/z"}, nil}}, "a/x a/y a/z", ""},
		{pushedTo{coming: [][]string{{"a/x"}}}, "a/x", "others go on pushing to the namespace"},
		{pushedTo{coming: [][]string{{"a/x", "a/y", "a/z"}}, refuses: "a/y"}, "a/x", "a/y: refused"},
	} {
		gone, err := purge(t.Context(), &test.held)
		if strings.Join(gone, " ") != test.gone || (err != nil) != (test.says != "") || err != nil && !strings.HasPrefix(err.Error(), test.says) {
			t.Errorf("got %v, %v, want %s, %s", gone, err, test.gone, test.says)
		}
	}
}

func TestListed(t *testing.T) {
	many := slices.Repeat([]string{"a/x"}, 25)
	if got := listed(many); !strings.HasSuffix(got, "a/x, and 5 more") || strings.Count(got, "a/x") != 20 {
		t.Errorf("got %s", got)
	}
	if got := listed(many[:2]); got != "a/x, a/x" {
		t.Errorf("got %s", got)
	}
}
