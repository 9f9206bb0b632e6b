package main

import (
	"bytes"
	"errors"
	"flag"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-oci/berth/test/bench/peers"
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

func TestInsert(t *testing.T) {
	text := "a\n" + tableBegins + "\nold\n" + tableEnds + "\nb\n"
	for range 2 { // what was put there is replaced
		got, err := insert(text, "new\n")
		if err != nil || got != "a\n"+tableBegins+"\nnew\n"+tableEnds+"\nb\n" {
			t.Fatalf("%q, %v", got, err)
		}
		text = got
	}
	if _, err := insert("a\n", "new"); err == nil {
		t.Error("it finds a place where there is none")
	}
}

// TestTurns: in each slice every side has its turn, and none is always the first.
func TestTurns(t *testing.T) {
	w := work{sides: make([]*side, 3), slices: 4}
	w.amount.Count = 10
	first, count := map[int]int{}, 0
	for round := range 3 {
		for slice := range w.slices {
			turns := []int{w.turn(round, slice, 0), w.turn(round, slice, 1), w.turn(round, slice, 2)}
			first[turns[0]]++
			if slices.Sort(turns); !slices.Equal(turns, []int{0, 1, 2}) {
				t.Errorf("round %d, slice %d: the turns are %v", round, slice, turns)
			}
		}
	}
	if len(first) != 3 {
		t.Errorf("the first are %v", first)
	}
	for slice := range w.slices {
		much, at := w.part(slice)
		if at != count {
			t.Errorf("slice %d begins at %d, want %d", slice, at, count)
		}
		count += much.Count
	}
	if count != w.amount.Count {
		t.Errorf("the slices are %d operations, want %d", count, w.amount.Count)
	}
}

// TestForecast: what README shows takes less than 25 minutes, by what is known of
// each part.
func TestForecast(t *testing.T) {
	o, err := parse([]string{"--dir", t.TempDir(), "--readme", "README.md"}, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{options: o, programs: []*peers.Program{{}, {}, {Static: true}}}
	all := b.forecast(0)
	if all < 5*time.Minute || all > 25*time.Minute {
		for _, g := range groups {
			t.Log(g.name, g.takes(b))
		}
		t.Errorf("it takes %v", all)
	}
}
