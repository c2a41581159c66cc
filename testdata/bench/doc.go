// Command bench measures what a fresh sandbox for each request costs, next to servers that do the same work
// without one, and writes the figures to a Markdown file with SVG plots beside it. `make bench` runs it.
//
// It starts one server at a time on loopback, drives it with wrk, and repeats that in rounds, so that what else the
// machine does falls on all servers alike; figures are medians over the rounds. It ends by itself and leaves
// no process behind. Servers that are not installed are left out of the tables. It reads /proc, so it needs Linux.
package main
