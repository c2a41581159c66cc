package httpfield

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

func lines(l *List) string {
	var b strings.Builder
	for _, f := range l.Fields() {
		b.WriteString(f.Name + ": " + f.Value + "\n")
	}
	return b.String()
}

func TestListChanges(t *testing.T) {
	tests := []struct {
		name string
		do   func(*List)
		want string
	}{
		{"adding keeps order and repeats", func(l *List) { l.Add("a", "3") }, "a: 1\nb: 2\na: 2\na: 3\n"},
		{"setting takes the place of the first line", func(l *List) { l.Set("a", "9") }, "a: 9\nb: 2\n"},
		{"setting an absent name appends", func(l *List) { l.Set("c", "9") }, "a: 1\nb: 2\na: 2\nc: 9\n"},
		{"deleting removes every line of the name", func(l *List) { l.Del("a") }, "b: 2\n"},
		{"deleting an absent name changes nothing", func(l *List) { l.Del("zz") }, "a: 1\nb: 2\na: 2\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var l List
			l.Add("a", "1")
			l.Add("b", "2")
			l.Add("a", "2")
			tt.do(&l)
			if got := lines(&l); got != tt.want {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
		})
	}
}

func TestNamesAreDistinctAndInOrder(t *testing.T) {
	var l List
	for _, n := range []string{"b", "a", "b", "c", "a"} {
		l.Add(n, "x")
	}
	if got := l.AppendNames(nil); !slices.Equal(got, []string{"b", "a", "c"}) {
		t.Errorf("got %q", got)
	}
}

func TestFromHTTPFollowsTheOrderReceived(t *testing.T) {
	h := http.Header{"X-B": {"1", "2"}, "Accept": {"*"}, "Zed": {"z"}, "Unlisted": {"u"}, "Also": {"v"}}
	var l List
	l.FromHTTP(h, []string{"zed", "X-b", "x-B", "ACCEPT"})
	want := "zed: z\nx-b: 1\nx-b: 2\naccept: *\nalso: v\nunlisted: u\n"
	if got := lines(&l); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	l.FromHTTP(h, nil)
	if got, want := lines(&l), "accept: *\nalso: v\nunlisted: u\nx-b: 1\nx-b: 2\nzed: z\n"; got != want {
		t.Errorf("without an order: got\n%swant\n%s", got, want)
	}
	back := make(http.Header)
	l.AppendHTTP(back)
	if len(back) != len(h) || !slices.Equal(back["X-B"], h["X-B"]) {
		t.Errorf("round trip gave %v", back)
	}
}

func TestFieldsJoinThoseThatAreThere(t *testing.T) {
	var l List
	l.Use(make([]Field, 0, 2))
	l.Add("a", "1")
	l.Add("b", "2")
	l.Add("a", "3") // past the room
	h := http.Header{"B": {"0"}}
	l.AppendHTTP(h, Field{"a", "4"}, Field{"c", "5"})
	for name, want := range map[string][]string{"A": {"1", "3", "4"}, "B": {"0", "2"}, "C": {"5"}} {
		if !slices.Equal(h[name], want) {
			t.Errorf("%s: %q, want %q", name, h[name], want)
		}
	}
}

func TestParse(t *testing.T) {
	for _, bad := range []string{"", "a b", "a:", "ä", "a\r", "\x00"} {
		if _, ok := ParseName([]byte(bad)); ok {
			t.Errorf("name %q was accepted", bad)
		}
	}
	if n, ok := ParseName([]byte("X-ThiNg")); !ok || n != "x-thing" {
		t.Errorf("got %q, %v", n, ok)
	}
	for _, bad := range []string{"a\r\nb", "a\nb", "a\x00b", "a\x7f"} {
		if _, ok := ParseValue([]byte(bad)); ok {
			t.Errorf("value %q was accepted", bad)
		}
	}
	if v, ok := ParseValue([]byte(" a\tb\xff ")); !ok || v != "a\tb\xff" {
		t.Errorf("got %q, %v", v, ok)
	}
}

func TestKnownNamesCostNoAllocation(t *testing.T) {
	name := []byte("content-type")
	if n := testing.AllocsPerRun(100, func() {
		s, _ := ParseName(name)
		Lower(Canonical(s))
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
