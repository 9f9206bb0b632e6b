package figures

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Title names a row with all that tells it from others.
func (r Row) Title() string {
	title := r.Name
	if r.Connections > 0 {
		title += fmt.Sprintf(", %d connection", r.Connections)
		if r.Connections > 1 {
			title += "s"
		}
	}
	if r.TLS {
		title += ", TLS"
	}
	return title
}

// columns are what a table shows of a side: medians over the rounds, and of
// memory the most.
var columns = []struct {
	name string
	cell func(Row, Side) string
}{
	{"rate", func(_ Row, s Side) string { return perSecond(s.median(rate)) }},
	{"MB/s", func(r Row, s Side) string { return digits(s.median(r.moved) / 1e6) }},
	{"p50", func(_ Row, s Side) string { return milliseconds(s.median(p50)) }},
	{"p99", func(_ Row, s Side) string { return milliseconds(s.median(p99)) }},
	{"said", func(_ Row, s Side) string { return milliseconds(s.median(server)) }},
	{"CPU", func(_ Row, s Side) string { return milliseconds(s.median(cpu)) }},
	{"peak", func(_ Row, s Side) string { return megabytes(s.most(peak)) }},
	{"own", func(_ Row, s Side) string { return megabytes(s.most(own)) }},
}

// Text writes a row for people to read on a terminal.
func (r Row) Text(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "  \t")
	shown := r.shown()
	for _, i := range shown {
		fmt.Fprintf(t, "%s\t", columns[i].name)
	}
	fmt.Fprintln(t)
	for _, s := range r.Sides {
		fmt.Fprintf(t, "  %s\t", s.Name)
		for _, i := range shown {
			fmt.Fprintf(t, "%s\t", columns[i].cell(r, s))
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, c := range r.Compare {
		if said := r.ratios(c); said != "" {
			if _, err := fmt.Fprintf(w, "  %s ÷ %s: %s\n", c[0], c[1], said); err != nil {
				return err
			}
		}
	}
	return nil
}

// shown are the columns in which anything stands.
func (r Row) shown() (indexes []int) {
	for i, c := range columns {
		for _, s := range r.Sides {
			if c.cell(r, s) != "" {
				indexes = append(indexes, i)
				break
			}
		}
	}
	return indexes
}

func (r Row) ratios(c [2]string) string {
	var said []string
	for _, v := range []struct {
		name  string
		value func(Measure) float64
	}{{"rate", rate}, {"p99", p99}, {"said", server}, {"CPU", cpu}, {"peak", peak}} {
		if ratio, ok := r.Ratio(c[0], c[1], v.value); ok {
			said = append(said, v.name+" "+r.spread(ratio))
		}
	}
	return strings.Join(said, ", ")
}

func (r Row) spread(ratio Ratio) string {
	text := fmt.Sprintf("%s (%s–%s)", digits(ratio.Median), digits(ratio.Min), digits(ratio.Max))
	if r.Confidence && ratio.Low > 0 {
		text += fmt.Sprintf(" [95 %%: %.3f–%.3f]", ratio.Low, ratio.High)
	}
	return text
}

// Markdown writes rows as a table of a document: a line for each pair of sides
// that is compared, and for each row that compares none.
func Markdown(w io.Writer, rows []Row) error {
	_, err := fmt.Fprint(w, "| | | rate | p50 | p99 | CPU | peak | rate, ratio | CPU, ratio |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range rows {
		for i, s := range r.Sides {
			title, against := r.Title(), [2]string{}
			if i > 0 {
				title = ""
			}
			for _, c := range r.Compare {
				if c[1] == s.Name {
					against = c
				}
			}
			line := []string{title, s.Name, perSecond(s.median(rate)), milliseconds(s.median(p50)), milliseconds(s.median(p99)),
				milliseconds(s.median(cpu)), megabytes(s.most(peak)), r.cell(against, rate), r.cell(against, cpu)}
			if _, err := fmt.Fprintf(w, "| %s |\n", strings.Join(line, " | ")); err != nil {
				return err
			}
		}
	}
	return err
}

func (r Row) cell(c [2]string, value func(Measure) float64) string {
	ratio, ok := r.Ratio(c[0], c[1], value)
	if !ok {
		return ""
	}
	return r.spread(ratio)
}

// Report is all of a run, as JSON has it.
type Report struct {
	Machine string   `json:"machine"`
	Notes   []string `json:"notes"`
	Rows    []Row    `json:"rows"`
}

// JSON writes the report, rounds and all.
func (r Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// digits has three digits, or all before the point.
func digits(v float64) string {
	switch {
	case v == 0:
		return ""
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case v >= 1:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'f', 3, 64)
}

func with(v float64, unit string) string {
	if v == 0 {
		return ""
	}
	return digits(v) + unit
}

func perSecond(v float64) string    { return with(v, "/s") }
func milliseconds(v float64) string { return with(v, " ms") }
func megabytes(v float64) string    { return with(v/(1<<20), " MiB") }
