// Package figures turns what was measured into numbers that can be compared,
// and these into a table, a chart and JSON.
package figures

import (
	"cmp"
	"math"
	"slices"
)

// Measure is one server in one round. What is 0 was not measured.
type Measure struct {
	Operations int     `json:"operations"`
	Seconds    float64 `json:"seconds"`
	P50        float64 `json:"p50_ms,omitempty"`
	P99        float64 `json:"p99_ms,omitempty"`
	// CPU is the server's processor time for one operation.
	CPU float64 `json:"cpu_ms,omitempty"`
	// Peak is the server's resident memory at its height, Own that of it which
	// is no file, both in bytes.
	Peak int64 `json:"peak_bytes,omitempty"`
	Own  int64 `json:"own_bytes,omitempty"`
	// Bytes are those that an operation moved, where not all do the same.
	Bytes int64 `json:"bytes,omitempty"`
	// Server is the median of the time that the answers say they took.
	Server float64 `json:"server_p50_ms,omitempty"`
}

// Rate is the operations in a second.
func (m Measure) Rate() float64 {
	if m.Seconds == 0 {
		return 0
	}
	return float64(m.Operations) / m.Seconds
}

// moved is how many bytes moved in a second.
func (r Row) moved(m Measure) float64 { return m.Rate() * float64(cmp.Or(m.Bytes, r.Bytes)) }

// Side is a server with what was measured, round by round.
type Side struct {
	Name   string    `json:"name"`
	Rounds []Measure `json:"rounds"`
}

// Row is one kind of work, done by several sides in turns.
type Row struct {
	Name        string `json:"name"`
	Connections int    `json:"connections"`
	TLS         bool   `json:"tls"`
	// Bytes are those that an operation moves, whichever side does it.
	Bytes int64  `json:"bytes,omitempty"`
	Sides []Side `json:"sides"`
	// Compare names the sides of which ratios are wanted: the first to the
	// second.
	Compare [][2]string `json:"compare,omitempty"`
	// Confidence says that the ratios want an interval of confidence.
	Confidence bool `json:"confidence,omitempty"`
}

// Ratio is what rounds say of two sides: what was measured in the same round is
// divided.
type Ratio struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	// Low and High are the 95 % confidence interval of the geometric mean, by
	// Student's t of the logarithms; both 0 for fewer than two rounds.
	Low  float64 `json:"low,omitempty"`
	High float64 `json:"high,omitempty"`
}

// Ratio compares two sides of the row; ok is false where not both were measured.
func (r Row) Ratio(of, to string, value func(Measure) float64) (ratio Ratio, ok bool) {
	a, b := r.side(of), r.side(to)
	var ratios []float64
	for i := range min(len(a), len(b)) {
		if x, y := value(a[i]), value(b[i]); x > 0 && y > 0 {
			ratios = append(ratios, x/y)
		}
	}
	if len(ratios) == 0 {
		return Ratio{}, false
	}
	ratio = Ratio{Median: Median(ratios), Min: slices.Min(ratios), Max: slices.Max(ratios)}
	ratio.Low, ratio.High = interval(ratios)
	return ratio, true
}

func (r Row) side(name string) []Measure {
	for _, s := range r.Sides {
		if s.Name == name {
			return s.Rounds
		}
	}
	return nil
}

// Median is the middle of the values, 0 of none.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// median is that of a value over a side's rounds.
func (s Side) median(value func(Measure) float64) float64 {
	var all []float64
	for _, m := range s.Rounds {
		all = append(all, value(m))
	}
	return Median(all)
}

// most is the largest of a value over a side's rounds.
func (s Side) most(value func(Measure) float64) (most float64) {
	for _, m := range s.Rounds {
		most = max(most, value(m))
	}
	return most
}

// interval is the 95 % confidence interval of the geometric mean.
func interval(ratios []float64) (low, high float64) {
	n := float64(len(ratios))
	if n < 2 {
		return 0, 0
	}
	var mean, squares float64
	for _, r := range ratios {
		mean += math.Log(r) / n
	}
	for _, r := range ratios {
		squares += (math.Log(r) - mean) * (math.Log(r) - mean)
	}
	half := student(len(ratios)-1) * math.Sqrt(squares/(n-1)/n)
	return math.Exp(mean - half), math.Exp(mean + half)
}

// student is the 97.5 % quantile of Student's t, for degrees of freedom from 1;
// beyond the table that of 30 is used, which makes an interval too wide rather
// than too narrow.
func student(freedom int) float64 {
	table := []float64{
		12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
		2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
		2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
	}
	return table[min(freedom, len(table))-1]
}

// The values that are compared.
func rate(m Measure) float64   { return m.Rate() }
func cpu(m Measure) float64    { return m.CPU }
func p50(m Measure) float64    { return m.P50 }
func p99(m Measure) float64    { return m.P99 }
func peak(m Measure) float64   { return float64(m.Peak) }
func own(m Measure) float64    { return float64(m.Own) }
func server(m Measure) float64 { return m.Server }
