package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/berth-oci/berth/test/bench/figures"
)

// A document has the table between these lines.
const tableBegins, tableEnds = "<!-- bench -->", "<!-- /bench -->"

// Beside the source of this program, from the root of the repository, are the chart
// that the document shows, and all that was measured.
const chartFile, allFile = "test/bench/chart.svg", "test/bench/measured.md"

// document puts what matters of the figures into the document, and the chart and
// all of them where it links them.
func (b *bench) document() error {
	against, alone := b.selected()
	var names []string
	for _, p := range b.programs[1:] {
		names = append(names, p.Name)
	}
	folder := filepath.Dir(b.readme)
	link := func(file string) string {
		if to, err := filepath.Rel(folder, file); err == nil {
			return filepath.ToSlash(to)
		}
		return file
	}
	var table strings.Builder
	fmt.Fprintf(&table, "![%s](%s)\n\n", b.title(), link(chartFile))
	err := errors.Join(
		b.report.Head(&table),
		figures.Compared(&table, against, names),
		line(&table),
		figures.Table(&table, alone),
	)
	fmt.Fprintf(&table, "\nAll that was measured is in [%s](%s).\n", link(allFile), link(allFile))
	if err != nil {
		return err
	}
	text, err := os.ReadFile(b.readme)
	if err != nil {
		return err
	}
	changed, err := insert(string(text), table.String())
	if err != nil {
		return fmt.Errorf("%s: %w", b.readme, err)
	}
	var chart, all strings.Builder
	if err := errors.Join(figures.Chart(&chart, b.title(), against), b.report.Markdown(&all)); err != nil {
		return err
	}
	for file, content := range map[string]string{
		b.readme: changed, chartFile: chart.String(), allFile: "# What was measured\n\n" + all.String(),
	} {
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			return err
		}
		b.say("written: %s", file)
	}
	return nil
}

func line(w io.Writer) error {
	_, err := fmt.Fprintln(w)
	return err
}

// insert puts what was measured between the lines of a document that are for it.
func insert(text, measured string) (string, error) {
	before, rest, begins := strings.Cut(text, tableBegins+"\n")
	_, after, ends := strings.Cut(rest, tableEnds+"\n")
	if !begins || !ends {
		return "", errors.New("it has no lines " + tableBegins + " and " + tableEnds + ", between which the table goes")
	}
	return before + tableBegins + "\n" + strings.TrimSuffix(measured, "\n") + "\n" + tableEnds + "\n" + after, nil
}

func (b *bench) title() string { return "berth and others on one machine: " + b.report.Machine }

// selected are the rows that a document shows, each over plain HTTP and over the
// fewest connections that were measured: those that compare berth with another
// program, and those of berth alone.
func (b *bench) selected() (against, alone []figures.Row) {
	others, known := map[string]bool{}, map[string]bool{}
	for _, p := range b.programs[1:] {
		others[p.Name] = true
	}
	for _, r := range b.report.Rows {
		if r.TLS || known[r.Name] {
			continue
		}
		known[r.Name] = true
		if len(r.Compare) > 0 && others[r.Compare[0][1]] {
			against = append(against, r)
		} else {
			alone = append(alone, r)
		}
	}
	return against, alone
}
