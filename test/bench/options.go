package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// options are what a run measures.
type options struct {
	only        []string // groups; none: those of the size of the run
	rounds      int
	connections []int
	sizes       []int64 // of blobs, in bytes
	images      []int   // of the stores that are asked
	schemes     []string
	peers       []string
	given       []string // name=command
	count       float64  // by which the numbers of pushes are multiplied
	time        time.Duration
	dir         string
	results     string
	logs        bool
	small       bool
	readme      string // the document that the table is put into, "" for none
}

const usage = `Compares berth with other registries on this machine, and with itself.

    go run ./test/bench                     what matters, in a few minutes
    go run ./test/bench --small             whether it works at all, in a minute
    go run ./test/bench --full              every size, up to a million images: hours
    go run ./test/bench --readme README.md  what README shows, in less than 25 minutes
    go run ./test/bench --only push,pull --connections 1,32 --rounds 9
    go run ./test/bench --only push --peers "" --peer old=/usr/local/bin/berth

Every server does the same work in each round, one after the other. A ratio is
that of one round: its median, and in parentheses the lowest and the highest of
the rounds. Believe a difference that is larger than that spread, on a machine
that does nothing else.

    rate   operations a second, of all connections together
    p50    time that an operation took, the median; p99: 99 of 100 were quicker
    said   time that berth's answers say they took, the median
    CPU    processor time of the server for one operation
    peak   resident memory at its height, with files that are mapped; own: without

What can be measured, with --only:

%s
The peers are distribution's registry (built from source, with the version that
go.mod has), nginx (if it is installed; it serves blobs as files), and any other
by --peer. In the folder --results are afterwards bench.md, a table,
bench.json, all rounds, and bench.svg, a chart of the ratios.

`

func parse(args []string, out io.Writer) (options, error) {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(out)
	f.Usage = func() {
		var all strings.Builder
		for _, g := range groups {
			fmt.Fprintf(&all, "    %-9s %s\n", g.name, g.about)
		}
		fmt.Fprintf(out, usage, &all)
		f.PrintDefaults()
	}
	o := options{}
	full := f.Bool("full", false, "measure every size, number of connections and scheme")
	f.BoolVar(&o.small, "small", false, "measure little: to see that all works")
	f.StringVar(&o.readme, "readme", "", "measure what this document shows, and put the table into it, between its lines\n"+tableBegins+" and "+tableEnds+";\nthe chart goes beside the source of this program")
	only := f.String("only", "", "measure these alone, separated by commas")
	f.IntVar(&o.rounds, "rounds", 5, "rounds of everything")
	connections := f.String("connections", "4", "numbers of connections at a time")
	sizes := f.String("sizes", "64K,1.5M,2M,10M,200M", "sizes of blobs that are pulled")
	images := f.String("images", "1000,20000", "numbers of images in the stores that are asked, the first being what others are compared with")
	schemes := f.String("schemes", "http", "http, https, or both")
	peerNames := f.String("peers", "distribution,nginx", "peers of those that are known")
	f.Func("peer", "another peer, as name=command: a berth, or what {address} and {data} are put into,\nand for https {certificate} and {key}; may be repeated", func(s string) error {
		o.given = append(o.given, s)
		return nil
	})
	f.Float64Var(&o.count, "count", 1, "push so many times as much")
	f.DurationVar(&o.time, "time", 700*time.Millisecond, "pull and ask for so long, in each round")
	f.StringVar(&o.dir, "dir", "", "folder for what the servers store, on the disk that is to be measured (default the user's cache)")
	f.StringVar(&o.results, "results", "results", "folder for the table, the chart and the JSON")
	f.BoolVar(&o.logs, "logs", true, "have each server write its log of requests to a file, as it does by itself")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	given := map[string]bool{}
	f.Visit(func(one *flag.Flag) { given[one.Name] = true })
	size := func(name string, value *string, small, shown, large string) {
		switch {
		case given[name]:
		case *full:
			*value = large
		case o.readme != "":
			*value = shown
		case o.small:
			*value = small
		}
	}
	size("connections", connections, "4", "4,32", "1,4,32,256")
	size("sizes", sizes, "64K,2M", "64K,2M,10M,200M", "64K,1.5M,2M,10M,200M")
	size("images", images, "100,1000", "1000,100000,1000000", "1000,100000,1000000")
	size("schemes", schemes, "http,https", "http,https", "http,https")
	switch {
	case o.readme != "":
		if !given["time"] {
			o.time = 400 * time.Millisecond
		}
	case o.small:
		o.lessen(given)
	}
	o.only, o.schemes, o.peers = list(*only), list(*schemes), list(*peerNames)
	return o, o.fill(f.Args(), *connections, *sizes, *images)
}

// lessen makes of everything that is not given as little as shows that it works.
func (o *options) lessen(given map[string]bool) {
	if !given["rounds"] {
		o.rounds = 2
	}
	if !given["count"] {
		o.count = 0.1
	}
	if !given["time"] {
		o.time = 50 * time.Millisecond
	}
}

// fill takes the flags that are lists, and looks at all of them.
func (o *options) fill(rest []string, connections, sizes, images string) (err error) {
	if len(rest) > 0 {
		return fmt.Errorf("%s is no flag; --help lists them", rest[0])
	}
	if o.connections, err = numbers("connections", connections); err != nil {
		return err
	}
	if o.images, err = numbers("images", images); err != nil {
		return err
	}
	for _, s := range list(sizes) {
		n, err := parseSize(s)
		if err != nil {
			return err
		}
		o.sizes = append(o.sizes, n)
	}
	for _, s := range o.schemes {
		if s != "http" && s != "https" {
			return fmt.Errorf("--schemes: %s is neither http nor https", s)
		}
	}
	for _, p := range o.peers {
		if p != "distribution" && p != "nginx" {
			return fmt.Errorf("--peers: %s is not known: it takes distribution and nginx, and --peer any other", p)
		}
	}
	for _, name := range o.only {
		if !slices.ContainsFunc(groups, func(g group) bool { return g.name == name }) {
			return fmt.Errorf("--only: there is no %s; --help lists what there is", name)
		}
	}
	if o.rounds < 1 || o.count <= 0 || o.time <= 0 || len(o.connections) == 0 || len(o.images) == 0 || len(o.sizes) == 0 || len(o.schemes) == 0 {
		return errors.New("rounds, count, time, connections, images, sizes and schemes are at least one, and more than 0")
	}
	if o.dir == "" {
		if o.dir, err = os.UserCacheDir(); err != nil {
			return fmt.Errorf("--dir: %w", err)
		}
		return os.MkdirAll(o.dir, 0o700)
	}
	return nil
}

// connectionsOver are the numbers of connections over a scheme: a document shows
// what TLS costs once.
func (o *options) connectionsOver(scheme string) []int {
	if o.readme != "" && scheme == "https" {
		return o.connections[:1]
	}
	return o.connections
}

// connectionsOfQueries are those that questions are asked over: a document shows
// first what one takes that waits for no other.
func (o *options) connectionsOfQueries() []int {
	if o.readme != "" && o.connections[0] != 1 {
		return []int{1, o.connections[0]}
	}
	return o.connections
}

// wants reports whether a group is to be measured.
func (o *options) wants(name string) bool {
	return len(o.only) == 0 || slices.Contains(o.only, name)
}

// times is how many operations are done, of a number for --count=1; on each
// connection at least one.
func (o *options) times(n, connections int) int {
	return max(int(float64(n)*o.count), connections)
}

func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

func numbers(name, s string) (all []int, err error) {
	for _, one := range list(s) {
		n, err := strconv.Atoi(one)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("--%s: %s is no number from 1", name, one)
		}
		all = append(all, n)
	}
	return all, nil
}

// parseSize is a size in bytes, of a number with K, M or G behind it, powers of
// 1024, or none.
func parseSize(s string) (int64, error) {
	number, unit := s, int64(1)
	for suffix, u := range map[string]int64{"K": 1 << 10, "M": 1 << 20, "G": 1 << 30} {
		if rest, ok := strings.CutSuffix(strings.ToUpper(s), suffix); ok {
			number, unit = rest, u
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("--sizes: %s is no size like 64K or 1.5M", s)
	}
	return int64(n * float64(unit)), nil
}

// sizeText is a size as the flag takes it.
func sizeText(n int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{1 << 30, "G"}, {1 << 20, "M"}, {1 << 10, "K"}} {
		if n >= u.size {
			return strconv.FormatFloat(float64(n)/float64(u.size), 'f', -1, 64) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}
