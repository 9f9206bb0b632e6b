package figures

import (
	"fmt"
	"html"
	"io"
	"math"
	"strings"
)

// The chart's measures, in pixels.
const (
	labelWidth = 430
	plotWidth  = 420
	valueWidth = 190
	barHeight  = 12
	rowHeight  = 2*barHeight + 14
	headHeight = 64
)

// bar is one ratio of the chart.
type bar struct {
	ratio Ratio
	name  string
	color string
}

// line is what the chart shows of one pair of sides.
type line struct {
	title string
	bars  []bar
}

// Chart writes an SVG of all ratios: how much of one side's throughput and
// processor time another has. Bars begin at 1, where both are the same, and grow
// with the logarithm; whiskers end at the lowest and the highest of the rounds.
func Chart(w io.Writer, title string, rows []Row) error {
	lines := chartLines(rows)
	low, high := scale(lines)
	height := headHeight + rowHeight*len(lines) + 16
	width := labelWidth + plotWidth + valueWidth
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n",
		width, height, width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	fmt.Fprintf(&b, `<text x="12" y="20" font-size="14" font-weight="bold">%s</text>`+"\n", html.EscapeString(title))
	legend(&b)
	x := func(ratio float64) float64 {
		return labelWidth + plotWidth*(math.Log(ratio)-math.Log(low))/(math.Log(high)-math.Log(low))
	}
	for tick := low; tick <= high*1.001; tick *= 2 {
		color := "#ddd"
		if math.Abs(tick-1) < 0.001 {
			color = "#333"
		}
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="%s"/>`+"\n", x(tick), headHeight-8, x(tick), height-12, color)
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle" fill="#555">%s</text>`+"\n", x(tick), headHeight-12, tickText(tick))
	}
	for i, l := range lines {
		y := headHeight + rowHeight*i
		fmt.Fprintf(&b, `<text x="12" y="%d">%s</text>`+"\n", y+rowHeight/2, html.EscapeString(l.title))
		for j, one := range l.bars {
			one.draw(&b, x, float64(y+4+j*(barHeight+2)))
		}
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// tickText is a power of two, as a fraction below 1.
func tickText(tick float64) string {
	if tick < 0.999 {
		return fmt.Sprintf("1/%.0f", 1/tick)
	}
	return fmt.Sprintf("%.0f", tick)
}

const throughputColor, cpuColor = "#2b6cb0", "#b7791f"

func legend(b *strings.Builder) {
	fmt.Fprintf(b, `<rect x="12" y="32" width="12" height="12" fill="%s"/><text x="30" y="42">throughput: more is better</text>`+"\n", throughputColor)
	fmt.Fprintf(b, `<rect x="200" y="32" width="12" height="12" fill="%s"/><text x="218" y="42">processor time: less is better</text>`+"\n", cpuColor)
}

func (o bar) draw(b *strings.Builder, x func(float64) float64, y float64) {
	from, to := x(1), x(o.ratio.Median)
	middle := y + barHeight/2
	fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%d" fill="%s"/>`+"\n", min(from, to), y, math.Abs(to-from), barHeight, o.color)
	fmt.Fprintf(b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="black"/>`+"\n", x(o.ratio.Min), middle, x(o.ratio.Max), middle)
	fmt.Fprintf(b, `<text x="%d" y="%.1f" fill="%s">%s × %s (%s–%s)</text>`+"\n", labelWidth+plotWidth+10, y+barHeight-2, o.color,
		digits(o.ratio.Median), html.EscapeString(o.name), digits(o.ratio.Min), digits(o.ratio.Max))
}

func chartLines(rows []Row) (lines []line) {
	for _, r := range rows {
		for _, c := range r.Compare {
			l := line{title: r.Title() + ": " + c[0] + " ÷ " + c[1]}
			if ratio, ok := r.Ratio(c[0], c[1], rate); ok {
				l.bars = append(l.bars, bar{ratio, "rate", throughputColor})
			}
			if ratio, ok := r.Ratio(c[0], c[1], cpu); ok {
				l.bars = append(l.bars, bar{ratio, "CPU", cpuColor})
			}
			if len(l.bars) > 0 {
				lines = append(lines, l)
			}
		}
	}
	return lines
}

// scale is the range of the axis: powers of two around all that is shown.
func scale(lines []line) (low, high float64) {
	low, high = 0.5, 2
	for _, l := range lines {
		for _, b := range l.bars {
			for low > b.ratio.Min {
				low /= 2
			}
			for high < b.ratio.Max {
				high *= 2
			}
		}
	}
	return low, high
}
