// Command summary reads what go test -json prints, and prints what a reader
// needs of it: a line for each package as it ends, all that failing tests said,
// and at the end what was skipped and why, the slowest tests, and how many
// passed, failed and were skipped. It exits with 1 if anything failed.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

func main() {
	ok, err := summarize(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "summary:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// event is a line of go test -json, as go doc test2json describes it, and of
// go build -json, which tells what does not compile.
type event struct {
	Action      string
	Package     string
	ImportPath  string
	Test        string
	Output      string
	Elapsed     float64 // seconds
	FailedBuild string
}

// test is a test, or one within another, or what a package says outside of all.
type test struct {
	pkg, name string
	output    strings.Builder
	result    string // pass, fail or skip; "" until it has ended
	took      time.Duration
	children  bool
	failed    bool // one of the children
}

// title is the test as a reader looks for it.
func (t *test) title() string { return t.pkg + " " + t.name }

type summary struct {
	out   io.Writer
	tests map[[2]string]*test
	order []*test
	bad   []string // what failed; at first packages without a test that did
}

// summarize reports whether nothing failed, and something was tested.
func summarize(in io.Reader, out io.Writer) (ok bool, err error) {
	s := &summary{out: out, tests: map[[2]string]*test{}}
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		var e event
		switch {
		case line == "":
		case !strings.HasPrefix(line, "{") || json.Unmarshal([]byte(line), &e) != nil:
			fmt.Fprint(out, line) // of a compiler, say
		default:
			s.take(e)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return false, err
		}
	}
	return s.end(), nil
}

// of is the test that an event is about.
func (s *summary) of(pkg, name string) *test {
	key := [2]string{pkg, name}
	t := s.tests[key]
	if t == nil {
		t = &test{pkg: pkg, name: name}
		s.tests[key] = t
		s.order = append(s.order, t)
		if p := s.parent(t); p != nil {
			p.children = true
		}
	}
	return t
}

// parent is the test that a test is a part of, or nil. Names hold slashes of
// their own, but a parent begins before its parts.
func (s *summary) parent(t *test) *test {
	for name := t.name; ; {
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			return nil
		}
		name = name[:i]
		if p := s.tests[[2]string{t.pkg, name}]; p != nil {
			return p
		}
	}
}

func (s *summary) take(e event) {
	if e.Package == "" { // of a build
		fmt.Fprint(s.out, e.Output)
		return
	}
	t := s.of(e.Package, e.Test)
	switch e.Action {
	case "output":
		t.output.WriteString(e.Output)
	case "pass", "fail", "skip":
		t.result, t.took = e.Action, time.Duration(e.Elapsed*float64(time.Second))
		if e.Test == "" {
			s.packageEnded(t, e)
			return
		}
		if e.Action == "fail" {
			fmt.Fprint(s.out, t.output.String())
			if p := s.parent(t); p != nil {
				p.failed = true
			}
		}
	}
}

// packageEnded prints the package's own line, or all that it said outside of
// tests if it failed, and what tests said that did not come to their end.
func (s *summary) packageEnded(p *test, e event) {
	said := strings.TrimSuffix(p.output.String(), "\n")
	if e.Action != "fail" {
		last := said[strings.LastIndexByte(said, '\n')+1:]
		if e.Action == "pass" {
			fmt.Fprintln(s.out, last)
		}
		return
	}
	found := false
	for _, t := range s.order {
		if t.pkg != p.pkg || t.name == "" {
			continue
		}
		if t.result == "" {
			t.result = "fail"
			fmt.Fprint(s.out, t.output.String())
		}
		found = found || t.result == "fail"
	}
	if !found {
		what := "outside of its tests"
		if e.FailedBuild != "" {
			what = "to build"
		}
		s.bad = append(s.bad, p.pkg+" failed "+what)
	}
	fmt.Fprintln(s.out, said)
}

var place = regexp.MustCompile(`(?m)^\s*\S+\.go:\d+: `)

// reason is why a test was skipped, in its own words.
func (t *test) reason() string {
	said := t.output.String()
	at := place.FindAllStringIndex(said, -1)
	if len(at) == 0 {
		return "no reason given"
	}
	line, _, _ := strings.Cut(said[at[len(at)-1][1]:], "\n")
	return strings.TrimPrefix(line, "skipped: ")
}

// end prints what is known when all have ended.
func (s *summary) end() (ok bool) {
	passed, failed := 0, len(s.bad) // a package that failed by itself is one
	var slow, skipped []*test
	for _, t := range s.order {
		switch {
		case t.name == "":
			continue
		case t.result == "skip":
			skipped = append(skipped, t)
		case t.result == "pass" && !t.children:
			passed++
		case t.result == "fail" && !t.failed:
			failed++
			s.bad = append(s.bad, t.title()+" failed")
		case t.result == "":
			failed++
			s.bad = append(s.bad, t.title()+" did not end")
		}
		if s.parent(t) == nil {
			slow = append(slow, t)
		}
	}
	slices.SortStableFunc(slow, func(a, b *test) int { return int(b.took - a.took) })
	if len(slow) > 0 {
		fmt.Fprintln(s.out, "\nslowest tests:")
	}
	for _, t := range slow[:min(10, len(slow))] {
		fmt.Fprintf(s.out, "%9.2fs  %s\n", t.took.Seconds(), t.title())
	}
	s.printSkipped(skipped)
	for i, what := range s.bad {
		if i == 0 {
			fmt.Fprintln(s.out, "\nfailed:")
		}
		fmt.Fprintln(s.out, "  "+what)
	}
	fmt.Fprintf(s.out, "\n%d passed, %d failed, %d skipped\n", passed, failed, len(skipped))
	return failed == 0 && passed > 0
}

// printSkipped prints each reason once.
func (s *summary) printSkipped(skipped []*test) {
	why := map[string][]*test{}
	var reasons []string
	for _, t := range skipped {
		r := t.reason()
		if why[r] == nil {
			reasons = append(reasons, r)
		}
		why[r] = append(why[r], t)
	}
	for i, r := range reasons {
		if i == 0 {
			fmt.Fprintln(s.out, "\nskipped:")
		}
		fmt.Fprintln(s.out, "  "+r)
		for _, t := range why[r] {
			fmt.Fprintln(s.out, "    "+t.title())
		}
	}
}
