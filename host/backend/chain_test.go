package backend

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host/httpfield"
)

// received gives a header section as net/http has it after the request came in.
func received(l *httpfield.List) http.Header {
	h := make(http.Header)
	l.AppendHTTP(h)
	return h
}

func TestChainCountsWhoWasPassed(t *testing.T) {
	key := []byte("shared")
	a, b := NewChain(key, "AAA", "a", 0), NewChain(key, "BBB", "b", 0)
	var l httpfield.List
	var p Passed
	for i, c := range []*Chain{a, b, a} {
		c.Mark(&l, &p)
		var err error
		if p, err = c.Read(received(&l)); err != nil || p.Hops != i+1 {
			t.Fatalf("after %d services: %+v, %v", i+1, p, err)
		}
	}
	if p, _ := a.Read(received(&l)); p.Service != 2 || p.Pop != 2 {
		t.Errorf("a sees %+v, want itself twice", p)
	}
	if p, _ := b.Read(received(&l)); p.Service != 1 || p.Pop != 1 {
		t.Errorf("b sees %+v, want itself once", p)
	}
	elsewhere := NewChain(key, "AAA", "c", 0)
	if p, _ := elsewhere.Read(received(&l)); p.Service != 0 || p.Pop != 2 {
		t.Errorf("another service at the same POP sees %+v", p)
	}
	if strings.Count(l.Fields()[0].Value, cdnName) != 3 || l.Len() != 2 {
		t.Errorf("marked %v", l.Fields())
	}
}

func TestChainIsNotFooled(t *testing.T) {
	c := NewChain([]byte("key"), "AAA", "service", 0)
	var genuine httpfield.List
	c.Mark(&genuine, new(Passed))
	mark, _ := genuine.Get("fastly-ff")
	other := NewChain([]byte("another key"), "AAA", "service", 0)
	var foreign httpfield.List
	other.Mark(&foreign, new(Passed))
	foreignMark, _ := foreign.Get("fastly-ff")
	for name, value := range map[string]string{
		"words":                     "yes",
		"the form without a MAC":    "!AAA!service",
		"another key":               foreignMark,
		"a changed service":         mark[:len(mark)-1] + "x",
		"a changed period":          "0" + mark,
		"nothing":                   "",
		"separators alone":          "!!!, ., !",
		"a period beyond all":       "7fffffffffffffff." + mark[strings.Index(mark, ".")+1:],
		"the mark with a tail":      mark + "!x",
		"the mark without its head": mark[3:],
	} {
		p, err := c.Read(http.Header{"Fastly-Ff": {value}})
		if err != nil || p.Service != 0 || p.Pop != 0 || p.Hops != 0 || p.FastlyFF() != "" {
			t.Errorf("%s (%q): %+v, %v", name, value, p, err)
		}
	}
	p, _ := c.Read(http.Header{"Fastly-Ff": {"forged, " + mark}})
	if p.Service != 1 || p.FastlyFF() != mark {
		t.Errorf("beside a forged one: %+v", p)
	}
	c.now = func() time.Time { return time.Now().Add(markPeriods * markPeriod) }
	if p, _ := c.Read(http.Header{"Fastly-Ff": {mark}}); p.Service != 0 {
		t.Error("an old mark counts")
	}
}

func TestChainEnds(t *testing.T) {
	c := NewChain([]byte("key"), "AAA", "service", 3)
	entries := func(n int) http.Header {
		return http.Header{"Cdn-Loop": strings.Split(strings.Repeat(`other; v="a,b"|`, n-1)+"last", "|")}
	}
	if p, err := c.Read(entries(3)); err != nil || p.Hops != 3 {
		t.Errorf("3 of 3 hops: %+v, %v", p, err)
	}
	var loop *LoopError
	if _, err := c.Read(entries(4)); !errors.As(err, &loop) || loop.Hops != 4 || !strings.Contains(err.Error(), "cdn-loop") {
		t.Errorf("4 of 3 hops: %v", err)
	}
	// A proxy that drops CDN-Loop between the hops does not make a loop endless.
	var l httpfield.List
	var p Passed
	var err error
	for hops := 0; err == nil; hops++ {
		if hops > 3 {
			t.Fatal("nothing ends the loop")
		}
		c.Mark(&l, &p)
		l.Del("cdn-loop")
		p, err = c.Read(received(&l))
	}
	// Whatever the program does to the fields, what came in goes on.
	p, _ = c.Read(http.Header{"Cdn-Loop": {"one", "two"}})
	program := httpfield.List{}
	program.Add("cdn-loop", "mine")
	program.Add("cdn-loop", "again")
	program.Add("fastly-ff", "forged")
	c.Mark(&program, &p)
	if v, _ := program.Get("cdn-loop"); v != "one, two, "+cdnName || program.Len() != 2 || strings.Contains(program.Fields()[1].Value, "forged") {
		t.Errorf("marked %v", program.Fields())
	}
}

func FuzzChain(f *testing.F) {
	c := NewChain([]byte("key"), "AAA", "service", 0)
	f.Add("a, b", c.mark())
	f.Fuzz(func(t *testing.T, loop, ff string) {
		p, err := c.Read(http.Header{"Cdn-Loop": {loop}, "Fastly-Ff": {ff}})
		if (err != nil) != (p.Hops > DefaultMaxHops) || p.Service > p.Hops {
			t.Errorf("%+v, %v", p, err)
		}
	})
}
