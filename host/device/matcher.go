package device

import (
	"math/bits"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ua-parser/uap-go/uaparser"
)

// other is ua-parser's name of what is not known.
const other = "Other"

// matcher runs the library's expressions, in its order, where their words occur in a text.
type matcher struct {
	parser              *uaparser.Parser
	agents, oses, devic filter
}

func newMatcher(p *uaparser.Parser) *matcher {
	m := &matcher{parser: p}
	for i, e := range p.UA {
		m.agents.add(i, e.Flags, e.Expr)
	}
	for i, e := range p.OS {
		m.oses.add(i, e.Flags, e.Expr)
	}
	for i, e := range p.Device {
		m.devic.add(i, e.Flags, e.Expr)
	}
	return m
}

// parsed is what the expressions find in a text.
type parsed struct {
	agent  uaparser.UserAgent
	os     uaparser.Os
	device uaparser.Device
}

func (m *matcher) parse(text, folded string) (p parsed) {
	m.agents.each(folded, func(i int) bool {
		m.parser.UA[i].Match(text, &p.agent)
		return p.agent.Family == ""
	})
	m.oses.each(folded, func(i int) bool {
		m.parser.OS[i].Match(text, &p.os)
		return p.os.Family == ""
	})
	m.devic.each(folded, func(i int) bool {
		m.parser.Device[i].Match(text, &p.device)
		return p.device.Family == ""
	})
	for _, family := range []*string{&p.agent.Family, &p.os.Family, &p.device.Family} {
		if *family == "" {
			*family = other
		}
	}
	return p
}

// filter knows of each expression of a list some words of which one is in every text that it matches.
type filter struct {
	always set               // those of which no words are known
	words  map[uint32][]word // by their first three bytes
	n      int
}

type word struct {
	text        string
	expressions set
}

// set is a set of small numbers.
type set []uint64

func (s set) with(i int) set {
	for len(s) <= i/64 {
		s = append(s, 0)
	}
	s[i/64] |= 1 << (i % 64)
	return s
}

// prefix is how many bytes of a word are looked up; shorter words are of no use.
const prefix = 3

func key(s string) uint32 { return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 }

func (f *filter) add(i int, flags, expr string) {
	f.n = i + 1
	if flags != "" {
		expr = "(?" + flags + ")" + expr
	}
	var words []string
	if re, err := syntax.Parse(expr, syntax.Perl); err == nil {
		words = required(re)
	}
	if words == nil {
		f.always = f.always.with(i)
		return
	}
	if f.words == nil {
		f.words = map[uint32][]word{}
	}
next:
	for _, text := range words {
		list := f.words[key(text)]
		for j := range list {
			if list[j].text == text {
				list[j].expressions = list[j].expressions.with(i)
				continue next
			}
		}
		f.words[key(text)] = append(list, word{text, set(nil).with(i)})
	}
}

// each calls try for the expressions that may match, in their order, until it answers false.
func (f *filter) each(folded string, try func(i int) bool) {
	var room [16]uint64
	candidates := room[:]
	if n := (f.n + 63) / 64; n > len(candidates) {
		candidates = make([]uint64, n)
	}
	copy(candidates, f.always)
	for i := 0; i+prefix <= len(folded); i++ {
		for _, w := range f.words[key(folded[i:])] {
			if strings.HasPrefix(folded[i:], w.text) {
				for j, bit := range w.expressions {
					candidates[j] |= bit
				}
			}
		}
	}
	for j, word := range candidates {
		for ; word != 0; word &= word - 1 {
			if !try(64*j + bits.TrailingZeros64(word)) {
				return
			}
		}
	}
}

// Bounds on the words of one expression, and on the texts that a part of it is said to be.
const (
	maxWords = 400
	maxExact = 64
)

// required gives words, folded, of which one at least is in every text that the expression matches; nil when there are
// none of use.
func required(re *syntax.Regexp) (best []string) {
	better := func(words []string) {
		if words != nil && (best == nil || rarer(words, best)) {
			best = words
		}
	}
	better(useful(exact(re)))
	switch re.Op {
	case syntax.OpCapture, syntax.OpPlus:
		return required(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return required(re.Sub[0])
		}
	case syntax.OpAlternate:
		var all []string
		for _, sub := range re.Sub {
			words := required(sub)
			if words == nil || len(all)+len(words) > maxWords {
				return best
			}
			all = append(all, words...)
		}
		better(all)
	case syntax.OpConcat:
		// Parts that follow one another and are known exactly make longer words.
		run := []string{""}
		for _, sub := range re.Sub {
			better(required(sub))
			texts := exact(sub)
			if texts != nil && len(run)*len(texts) <= maxExact {
				run = product(run, texts)
				continue
			}
			better(useful(run))
			run = []string{""}
			if texts != nil {
				run = texts
			}
		}
		better(useful(run))
	}
	return best
}

// useful gives words unless one is too short to be looked up.
func useful(words []string) []string {
	for _, w := range words {
		if len(w) < prefix {
			return nil
		}
	}
	return words
}

func product(a, b []string) []string {
	all := make([]string, 0, len(a)*len(b))
	for _, x := range a {
		for _, y := range b {
			if !slices.Contains(all, x+y) {
				all = append(all, x+y)
			}
		}
	}
	return all
}

// exact gives all texts that an expression matches, folded, if they are few; else nil.
func exact(re *syntax.Regexp) []string {
	switch re.Op {
	case syntax.OpEmptyMatch, syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText, syntax.OpWordBoundary,
		syntax.OpNoWordBoundary:
		return []string{""}
	case syntax.OpLiteral:
		return []string{fold(string(re.Rune))}
	case syntax.OpCharClass:
		var all []string
		for i := 0; i < len(re.Rune); i += 2 {
			if re.Rune[i+1]-re.Rune[i] > 8 {
				return nil
			}
			for r := re.Rune[i]; r <= re.Rune[i+1]; r++ {
				if c := fold(string(r)); !slices.Contains(all, c) {
					all = append(all, c)
				}
			}
		}
		if len(all) > 4 {
			return nil
		}
		return all
	case syntax.OpCapture:
		return exact(re.Sub[0])
	case syntax.OpQuest:
		if texts := exact(re.Sub[0]); texts != nil {
			return append(slices.Clip(texts), "")
		}
	case syntax.OpAlternate:
		var all []string
		for _, sub := range re.Sub {
			texts := exact(sub)
			if texts == nil || len(all)+len(texts) > maxExact {
				return nil
			}
			all = append(all, texts...)
		}
		return all
	case syntax.OpConcat:
		all := []string{""}
		for _, sub := range re.Sub {
			texts := exact(sub)
			if texts == nil || len(all)*len(texts) > maxExact {
				return nil
			}
			all = product(all, texts)
		}
		return all
	}
	return nil
}

// common are words that nearly every text has, so that they tell nothing.
var common = []string{"mozilla/", "applewebkit", "webkit", "(khtml, like gecko)", "gecko", "safari/", "safari", "version/", "android", "mobile", "linux", "build/", "build", " build", "chrome/"}

// rarer guesses whether a text has one of a less often than one of b.
func rarer(a, b []string) bool { return rarity(a) > rarity(b) }

func rarity(words []string) int {
	shortest := 1 << 10
	for _, w := range words {
		n := 4 * len(w)
		for _, c := range common {
			if strings.Contains(c, w) || w == c {
				n = 1
			}
		}
		shortest = min(shortest, n)
	}
	return shortest*64 - len(words)
}

// fold makes texts equal that differ in case only, in the sense of regexp, character by character.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= utf8.RuneSelf {
			// All of an orbit become its least one; two letters beyond ASCII are of the orbits of k and s.
			least := r
			for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
				least = min(least, f)
			}
			r = least
		}
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)
}
