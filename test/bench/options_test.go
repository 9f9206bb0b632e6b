package main

import (
	"bytes"
	"errors"
	"flag"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	dir := t.TempDir()
	o, err := parse([]string{"--dir", dir, "--small", "--rounds", "7", "--sizes", "1.5M, 10", "--only", "push,pull"}, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	// What is given is stronger than what --small would have.
	if o.rounds != 7 || !slices.Equal(o.sizes, []int64{1572864, 10}) || o.count != 0.1 || o.time != 50*time.Millisecond || !slices.Equal(o.connections, []int{4}) {
		t.Errorf("got %+v", o)
	}
	if !o.wants("push") || o.wants("memory") || !(&options{}).wants("memory") {
		t.Error("it does not measure what it is told")
	}
	if o.times(100, 4) != 10 || o.times(100, 32) != 32 {
		t.Error("the number of pushes is wrong")
	}
	if o, err = parse([]string{"--dir", dir, "--full"}, &bytes.Buffer{}); err != nil || o.images[len(o.images)-1] != 1_000_000 || len(o.schemes) != 2 || len(o.connections) != 4 {
		t.Errorf("full: %+v %v", o, err)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"push", "push is no flag"},
		{"--only all", "there is no all"},
		{"--sizes 1X", "1X is no size"},
		{"--sizes 0", "0 is no size"},
		{"--connections 0", "0 is no number"},
		{"--schemes ftp", "ftp is neither"},
		{"--peers zot", "zot is not known"},
		{"--rounds 0", "at least one"},
	} {
		_, err := parse(append(strings.Fields(test.args), "--dir", t.TempDir()), &bytes.Buffer{})
		// What follows an argument that is no flag is not looked at.
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.args, err)
		}
	}
}

func TestHelp(t *testing.T) {
	var out bytes.Buffer
	if _, err := parse([]string{"--help"}, &out); !errors.Is(err, flag.ErrHelp) {
		t.Fatal(err)
	}
	for _, g := range groups {
		if !strings.Contains(out.String(), "    "+g.name+" ") {
			t.Errorf("the help does not name %s:\n%s", g.name, &out)
		}
	}
}

func TestSizes(t *testing.T) {
	for _, size := range []string{"64K", "1.5M", "200M", "2G", "100"} {
		n, err := parseSize(size)
		if err != nil || sizeText(n) != size {
			t.Errorf("%s is %d, which is %s: %v", size, n, sizeText(n), err)
		}
	}
}

func TestTimesSaid(t *testing.T) {
	var said times
	for _, body := range []string{`{"data":{"x":"\"op_time_us\":9"},"op_time_us":210}`, `{"op_time_us":100,"a":1}`, `{}`, ``, `"op_time_us":`, `"op_time_us":x}`} {
		said.add([]byte(body))
	}
	if got := said.median(); got != 0.155 {
		t.Errorf("the median is %v", got)
	}
	if got := said.median(); got != 0 {
		t.Errorf("what was told once is told again: %v", got)
	}
}
