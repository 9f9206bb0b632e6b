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

// Markdown writes the report as a document: on which machine, what belongs to the
// figures, and a table of all rows.
func (r Report) Markdown(w io.Writer) error {
	if err := r.Head(w); err != nil {
		return err
	}
	return Table(w, r.Rows)
}

// Head writes what belongs to the figures.
func (r Report) Head(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s\n\n", r.Machine)
	for _, note := range r.Notes {
		if err == nil {
			_, err = fmt.Fprintf(w, "- %s\n", note)
		}
	}
	if err == nil {
		_, err = fmt.Fprintln(w)
	}
	return err
}

// Compared writes a table with one line for each row: what the first side does,
// and how many times that is of what each of the others does.
func Compared(w io.Writer, rows []Row, others []string) error {
	_, err := fmt.Fprintf(w, "| | rate | p50 | p99 | CPU | peak | %s |\n|---|---|---|---|---|---|%s\n",
		strings.Join(others, " | "), strings.Repeat("---|", len(others)))
	for _, r := range rows {
		s := r.Sides[0]
		cells := []string{r.Title(), r.speed(s), milliseconds(s.median(p50)), milliseconds(s.median(p99)), milliseconds(s.median(cpu)), megabytes(s.most(peak))}
		for _, other := range others {
			pair := [2]string{s.Name, other}
			said := ""
			if fast := r.cell(pair, rate); fast != "" {
				said = "rate " + fast + ", CPU " + r.cell(pair, cpu)
			}
			cells = append(cells, said)
		}
		if err == nil {
			_, err = fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
		}
	}
	return err
}

// Table writes a table with a line for each side of each row. The ratios stand in
// the line of the second of what is compared, or, where that is the first of the
// row, in the line of the other.
func Table(w io.Writer, rows []Row) error {
	_, err := fmt.Fprint(w, "| | | rate | p50 | p99 | said | CPU | peak | ratios of | rate | p99 | CPU |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, row := range rows {
		for i, s := range row.Sides {
			if err := row.line(w, i, s); err != nil {
				return err
			}
		}
	}
	return err
}

// line writes the line of the i-th side of a row.
func (r Row) line(w io.Writer, i int, s Side) error {
	title, against := r.Title(), [2]string{}
	if i > 0 {
		title = ""
	}
	for _, c := range r.Compare {
		if c[1] == s.Name && c[0] == r.Sides[0].Name || c[0] == s.Name && i > 0 {
			against = c
		}
	}
	compared := ""
	if against[0] != "" {
		compared = against[0] + " ÷ " + against[1]
	}
	cells := []string{title, s.Name, r.speed(s), milliseconds(s.median(p50)), milliseconds(s.median(p99)), milliseconds(s.median(server)),
		milliseconds(s.median(cpu)), megabytes(s.most(peak)), compared, r.cell(against, rate), r.cell(against, p99), r.cell(against, cpu)}
	_, err := fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
	return err
}

// speed is how much a side does in a second.
func (r Row) speed(s Side) string {
	speed := perSecond(s.median(rate))
	if moved := s.median(r.moved) / 1e6; moved > 0 {
		speed += ", " + digits(moved) + " MB/s"
	}
	return speed
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
