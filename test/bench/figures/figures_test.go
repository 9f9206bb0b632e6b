package figures

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"
)

// row has two sides: the first does twice, four times, three times as much, at
// half the processor time.
func row() Row {
	side := func(name string, cpu float64, operations ...int) (s Side) {
		s.Name = name
		for _, n := range operations {
			s.Rounds = append(s.Rounds, Measure{Operations: n, Seconds: 2, P50: 1, P99: 3, CPU: cpu, Peak: 10 << 20})
		}
		return s
	}
	return Row{
		Name: "push <new>", Connections: 4, TLS: true, Bytes: 1e6, Compare: [][2]string{{"a", "b"}},
		Sides: []Side{side("a", 2, 200, 400, 300), side("b", 4, 100, 100, 100)},
	}
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 1e-3*math.Abs(want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestRatio(t *testing.T) {
	got, ok := row().Ratio("a", "b", rate)
	if !ok {
		t.Fatal("no ratio")
	}
	near(t, "median", got.Median, 3)
	near(t, "min", got.Min, 2)
	near(t, "max", got.Max, 4)
	// By hand: logarithms 0.6931, 1.3863, 1.0986; mean 1.0594, deviation 0.34825,
	// t(2) = 4.303: half the interval is 0.8652.
	near(t, "low", got.Low, math.Exp(1.05935-0.86518))
	near(t, "high", got.High, math.Exp(1.05935+0.86518))

	if _, ok := row().Ratio("a", "nobody", rate); ok {
		t.Error("a side that is not there has a ratio")
	}
	if _, ok := row().Ratio("a", "b", own); ok {
		t.Error("what was not measured has a ratio")
	}
}

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{5, 1, 3}, 3}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := Median(test.values); got != test.want {
			t.Errorf("median of %v: got %v, want %v", test.values, got, test.want)
		}
	}
}

func TestIntervalOfMany(t *testing.T) {
	if low, high := interval([]float64{2}); low != 0 || high != 0 {
		t.Error("one round has an interval")
	}
	same := make([]float64, 100)
	for i := range same {
		same[i] = 1.5
	}
	low, high := interval(same)
	near(t, "low of what never differs", low, 1.5)
	near(t, "high of what never differs", high, 1.5)
}

func TestText(t *testing.T) {
	var out bytes.Buffer
	if err := row().Text(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"150/s", "150", "1.00 ms", "3.00 ms", "2.00 ms", "10.0 MiB", "a ÷ b: rate 3.00 (2.00–4.00), p99 1.00 (1.00–1.00), CPU 0.500 (0.500–0.500)"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "own") {
		t.Errorf("a column of what was not measured:\n%s", &out)
	}
	// What a measurement says of bytes is stronger than what the row says.
	own := row()
	own.Sides[0].Rounds[0].Bytes, own.Sides[0].Rounds[1].Bytes, own.Sides[0].Rounds[2].Bytes = 2e6, 2e6, 2e6
	out.Reset()
	if err := own.Text(&out); err != nil || !strings.Contains(out.String(), " 300 ") {
		t.Errorf("no 300 MB/s (%v) in\n%s", err, &out)
	}
	if title := row().Title(); title != "push <new>, 4 connections, TLS" {
		t.Errorf("title is %q", title)
	}
}

func TestMarkdown(t *testing.T) {
	var out bytes.Buffer
	stores := row() // each of others with the first
	stores.Compare = [][2]string{{"b", "a"}}
	if err := (Report{Machine: "m", Notes: []string{"n"}, Rows: []Row{row(), stores}}).Markdown(&out); err != nil {
		t.Fatal(err)
	}
	text, ok := strings.CutPrefix(strings.TrimSpace(out.String()), "m\n\n- n\n\n")
	lines := strings.Split(text, "\n")
	if !ok || len(lines) != 6 {
		t.Fatalf("got\n%s", &out)
	}
	for i, line := range lines {
		if n := strings.Count(line, "|"); n != 13 {
			t.Errorf("line %d has %d bars: %s", i, n, line)
		}
	}
	if !strings.Contains(lines[3], "| b |") || !strings.Contains(lines[3], "| a ÷ b | 3.00 (2.00–4.00)") || strings.Contains(lines[2], "÷") {
		t.Errorf("the ratio is not with the side that is compared with:\n%s", &out)
	}
	if !strings.Contains(lines[5], "| b ÷ a | 0.333 (0.250–0.500)") || strings.Contains(lines[4], "÷") {
		t.Errorf("the ratio is not with the side that is compared:\n%s", &out)
	}
}

func TestJSON(t *testing.T) {
	var out bytes.Buffer
	if err := (Report{Machine: "m", Rows: []Row{row()}}).JSON(&out); err != nil {
		t.Fatal(err)
	}
	var got Report
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || len(got.Rows) != 1 || got.Rows[0].Sides[0].Rounds[1].Operations != 400 {
		t.Errorf("%v: %+v", err, got)
	}
}

// TestChart reads the chart as XML, and looks where its bars are.
func TestChart(t *testing.T) {
	var out bytes.Buffer
	if err := Chart(&out, "a & b", []Row{row(), {Name: "compares nothing", Sides: row().Sides}}); err != nil {
		t.Fatal(err)
	}
	type rectangle struct{ x, width float64 }
	bars := map[string][]rectangle{}
	var texts []string
	decoder := xml.NewDecoder(&out)
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch e := token.(type) {
		case xml.CharData:
			texts = append(texts, string(e))
		case xml.StartElement:
			attributes := map[string]string{}
			for _, a := range e.Attr {
				attributes[a.Name.Local] = a.Value
			}
			if e.Name.Local == "rect" && attributes["height"] == strconv.Itoa(barHeight) && attributes["y"] != "32" {
				x, _ := strconv.ParseFloat(attributes["x"], 64)
				width, _ := strconv.ParseFloat(attributes["width"], 64)
				bars[attributes["fill"]] = append(bars[attributes["fill"]], rectangle{x, width})
			}
		}
	}
	if len(bars[throughputColor]) != 1 || len(bars[cpuColor]) != 1 {
		t.Fatalf("bars are %v", bars)
	}
	more, less := bars[throughputColor][0], bars[cpuColor][0]
	// The axis goes from 1/2 to 4: 1 is at a third.
	one := labelWidth + plotWidth/3.0
	near(t, "begin of what is more", more.x, one)
	near(t, "length of 3", more.width, plotWidth*math.Log(3)/math.Log(8))
	near(t, "end of what is less", less.x+less.width, one)
	near(t, "length of 1/2", less.width, plotWidth/3.0)
	all := strings.Join(texts, "")
	for _, want := range []string{"a & b", "push <new>, 4 connections, TLS: a ÷ b", "3.00 × rate (2.00–4.00)", "1/2"} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in %s", want, all)
		}
	}
	if strings.Contains(all, "compares nothing") {
		t.Error("a row without ratios is in the chart")
	}
}
