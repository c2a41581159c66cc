//go:build linux

package main

import (
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
)

type point struct{ x, y float64 }

type series struct {
	name   string
	points []point
}

func toSeries(name string, pairs []pair) []series {
	s := series{name: name}
	for _, p := range pairs {
		s.points = append(s.points, point{p.X, p.Y})
	}
	return []series{s}
}

// Colours that people with any colour vision can tell apart (Okabe and Ito).
var colours = []string{"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"}

// plot draws lines as an SVG picture. The x axis is by rank: the points of one plot are chosen, not sampled. The y axis
// starts at 0.
func plot(title, x, y string, lines []series) string {
	const width, height, left, right, top, bottom = 720, 400, 80, 210, 40, 60
	var ranks []float64
	most := 0.0
	for _, l := range lines {
		if len(l.points) > len(ranks) {
			ranks = ranks[:0]
			for _, p := range l.points {
				ranks = append(ranks, p.x)
			}
		}
		for _, p := range l.points {
			most = math.Max(most, p.y)
		}
	}
	step := niceStep(most / 5)
	ceiling := math.Max(math.Ceil(most/step)*step, step)
	atX := func(rank int) float64 {
		return left + float64(width-left-right)*float64(rank)/math.Max(float64(len(ranks)-1), 1)
	}
	atY := func(v float64) float64 { return top + (height-top-bottom)*(1-v/ceiling) }

	var b strings.Builder
	text := func(x, y float64, anchor, s string) {
		fmt.Fprintf(&b, "<text x=\"%.0f\" y=\"%.0f\" text-anchor=\"%s\">%s</text>\n", x, y, anchor, html.EscapeString(s))
	}
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"12\">\n", width, height)
	fmt.Fprintf(&b, "<title>%s</title>\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n", html.EscapeString(title))
	text(left, 20, "start", title)
	text(left, top-6, "end", y)
	text((left+width-right)/2, height-14, "middle", x)
	for v := 0.0; v <= ceiling*1.0001; v += step {
		fmt.Fprintf(&b, "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/>\n", left, width-right, atY(v), atY(v))
		text(left-6, atY(v)+4, "end", number(v))
	}
	for rank, v := range ranks {
		text(atX(rank), height-bottom+18, "middle", number(v))
	}
	for i, l := range lines {
		colour := colours[i%len(colours)]
		var path strings.Builder
		for rank, p := range l.points {
			fmt.Fprintf(&path, "%.1f,%.1f ", atX(rank), atY(p.y))
			fmt.Fprintf(&b, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n", atX(rank), atY(p.y), colour)
		}
		fmt.Fprintf(&b, "<polyline points=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\"/>\n", strings.TrimSpace(path.String()), colour)
		row := float64(top + 10 + 20*i)
		fmt.Fprintf(&b, "<rect x=\"%d\" y=\"%.0f\" width=\"12\" height=\"12\" fill=\"%s\"/>\n", width-right+14, row-10, colour)
		text(width-right+32, row, "start", l.name)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// niceStep rounds up to 1, 2 or 5 times a power of ten.
func niceStep(v float64) float64 {
	if v <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if v <= m*power {
			return m * power
		}
	}
	return 10 * power
}

func number(v float64) string {
	if v >= 10 || v == math.Trunc(v) {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
