package wazero

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/wasm"
)

func randomSpans(r *rand.Rand, memory []byte) []wasm.Span {
	var spans []wasm.Span
	for at := r.IntN(len(memory) / 4); ; at += 20 + r.IntN(1<<(6+r.IntN(15))) {
		n := 1 + r.IntN(1<<r.IntN(14))
		if at+n > len(memory) {
			return spans
		}
		b := bytes.Repeat([]byte{byte(1 + r.IntN(255))}, n)
		copy(memory[at:], b)
		spans = append(spans, wasm.Span{Offset: uint64(at), Bytes: b})
		at += n
	}
}

func TestAnImageIsWhatItsSpansSay(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 3))
		want := make([]byte, 1<<21)
		spans := randomSpans(r, want)
		runs, _ := layout(spans)
		if len(runs) > maxRuns {
			t.Errorf("seed %d: %d runs", seed, len(runs))
		}
		var at, end uint64
		for i, run := range runs {
			if run.start%osPage != 0 || run.end%osPage != 0 || run.end <= run.start || run.at != at || i > 0 && run.start <= end+runGap {
				t.Errorf("seed %d: runs are %v", seed, runs)
			}
			end, at = run.end, at+run.end-run.start
		}
		for _, mapped := range []bool{canMap, false} {
			im, err := newImage(spans, mapped, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			got := bytes.Repeat([]byte{'?'}, len(want))
			im.fill(got)
			if !bytes.Equal(got, want) {
				t.Fatalf("seed %d: an image fills memory with something else", seed)
			}
			for at := uint64(0); at < uint64(len(want)); at += osPage {
				if !bytes.Equal(im.page(at), want[at:at+osPage]) {
					t.Fatalf("seed %d: the image's page at %d is another", seed, at)
				}
			}
			l := linearMemory{image: im, first: uint64(len(want)), max: uint64(len(want)), mapped: mapped}
			if err := l.open(); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(l.buf, want) {
				t.Fatalf("seed %d: memory is something else (mapped: %t)", seed, mapped)
			}
			l.buf[r.IntN(len(want))] ^= 1
			if _, ok := l.reset(); !ok || !bytes.Equal(l.buf, want) {
				t.Fatalf("seed %d: memory that was set back is something else (mapped: %t)", seed, mapped)
			}
			l.release()
			im.close()
		}
	}
}

func TestWhichImagesAreWorthIt(t *testing.T) {
	span := func(offset, n int) wasm.Span { return wasm.Span{Offset: uint64(offset), Bytes: make([]byte, n)} }
	scattered := make([]wasm.Span, 2000)
	for i := range scattered {
		scattered[i] = span(i<<15, 1)
	}
	each := make([]wasm.Span, 2000)
	for i := range each {
		each[i] = span(i*int(osPage), 1)
	}
	far := []wasm.Span{span(0, 1<<20), span(10<<20, 1<<20), span(20<<20, 1<<20), span(30<<20, 1<<20)}
	for _, tt := range []struct {
		name  string
		spans []wasm.Span
		want  bool
	}{
		{"none", nil, true},
		{"one byte", []wasm.Span{span(5, 1)}, true},
		{"dense", []wasm.Span{span(5, 5<<20)}, true},
		{"four far apart", far, true},
		{"more of them than runs", append(append([]wasm.Span{}, far...), span(100<<20, 100), span(200<<20, 100)), false},
		{"a byte here and there", scattered, false},
		{"a byte in each page", each, false},
	} {
		if _, got := layout(tt.spans); got != tt.want {
			t.Errorf("%s: worth it: %t", tt.name, got)
		}
	}
}

func TestAModuleWithStrewnDataWorksWithoutAnImage(t *testing.T) {
	const pages = 1000
	g := &guest{memory: "\x00" + u32(pages)}
	for i := range pages {
		g.data = append(g.data, "\x00"+i32(i<<16)+"\x0b\x01x")
	}
	g.look(nil)
	tmpl := linkTest(t, newEngine(t, engine.Config{MaxInstances: 1}), g.encode())
	if tmpl.code.image != nil {
		t.Error("it has an image")
	}
	if tmpl.resettable() {
		t.Error("its instances are set back, to what?")
	}
	for range 2 {
		in := newInstance(t, tmpl, engine.InstanceConfig{})
		for i := range pages {
			if in.slot.memory.buf[i<<16] != 'x' {
				t.Fatalf("a byte of page %d is missing", i)
			}
			in.slot.memory.buf[i<<16] = 'y'
		}
		in.Close()
	}
}

func TestInstancesWithSegmentsWhoseOffsetsAreComputedAreRebuilt(t *testing.T) {
	g := &guest{memory: "\x00\x02", data: []string{"\x00" + i32(8) + "\x0b\x05hello", "\x00" + i32(60) + i32(40) + "\x6a\x0b\x05world"}}
	tmpl := linkTest(t, newEngine(t, engine.Config{MaxInstances: 1}), g.encode())
	for range 3 {
		in := newInstance(t, tmpl, engine.InstanceConfig{})
		if m := in.slot.memory.buf; string(m[8:13]) != "hello" || string(m[100:105]) != "world" {
			t.Errorf("memory holds %q and %q", m[8:13], m[100:105])
		}
		clear(in.slot.memory.buf)
		in.Close()
	}
}
