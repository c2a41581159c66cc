package telemetry

import (
	"strings"
	"testing"
)

func TestGuestOutputAsAnEndpointIsALineForEachWrite(t *testing.T) {
	out := new(writes)
	w := EndpointWriter(NewLines(out).Endpoint("stdout"))
	for _, s := range []string{"hello ", "world\n", "\n", "a\nb\n"} {
		if n, err := w.Write([]byte(s)); n != len(s) || err != nil {
			t.Errorf("Write(%q) = %d, %v", s, n, err)
		}
	}
	out.wants(t, "stdout :: hello \n", "stdout :: world\n", "stdout :: a\\nb\n")
}

func TestPrefixedGuestOutput(t *testing.T) {
	long := strings.Repeat("x", maxPartialLine)
	tests := []struct {
		name string
		in   []string
		want []string
	}{
		{"a line", []string{"hello\n"}, []string{"p| hello\n"}},
		{"a line in pieces", []string{"he", "llo", "\n"}, []string{"p| hello\n"}},
		{"several lines at once", []string{"a\n\nb\nc"}, []string{"p| a\n", "p| \n", "p| b\n", "p| c\n"}},
		{"a line without an end is printed by Close", []string{"hello"}, []string{"p| hello\n"}},
		{"nothing", []string{"", ""}, nil},
		{"a full line", []string{long + "\n"}, []string{"p| " + long + "\n"}},
		{"a line that is too long is broken", []string{long, "yz\n"}, []string{"p| " + long + "\n", "p| yz\n"}},
		{"also when it comes at once", []string{long + long + "yz\n"}, []string{"p| " + long + "\n", "p| " + long + "\n", "p| yz\n"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out := new(writes)
			w := NewPrefixWriter(out, "p| ")
			for _, s := range tt.in {
				if n, err := w.Write([]byte(s)); n != len(s) || err != nil {
					t.Errorf("Write = %d, %v", n, err)
				}
			}
			w.Close()
			w.Close()
			out.wants(t, tt.want...)
		})
	}
}
