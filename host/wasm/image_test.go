package wasm

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

const testMemory = 4 << 16

func dataModule(segments ...DataSegment) []byte {
	return mod(SectionMemory, "\x01\x00\x04", SectionData, string(dataSection(segments)))
}

// countedModule has a data count section, so that code may refer to segments.
func countedModule(segments ...DataSegment) []byte {
	return mod(SectionMemory, "\x01\x00\x04", SectionDataCount, string(AppendU32(nil, uint32(len(segments)))), SectionData, string(dataSection(segments)))
}

func dataSection(segments []DataSegment) []byte {
	body := AppendU32(nil, uint32(len(segments)))
	for _, s := range segments {
		if !s.Active {
			body = append(body, 1)
		} else {
			body = append(append(body, 0), s.Offset...)
		}
		body = append(AppendU32(body, uint32(len(s.Init))), s.Init...)
	}
	return body
}

func at(offset int, init string) DataSegment {
	return DataSegment{Active: true, Offset: append(AppendS64([]byte{opI32Const}, int64(offset)), opEnd), Init: []byte(init)}
}

func takeData(t *testing.T, src []byte) (*Module, []Span) {
	t.Helper()
	m, err := Parse(src)
	if err != nil {
		t.Fatal(err)
	}
	out, spans, err := m.TakeData()
	if err != nil {
		t.Fatal(err)
	}
	if m, err = Parse(out); err != nil {
		t.Fatal(err)
	}
	return m, spans
}

func TestTakenDataIsWhatSegmentsPutIntoMemory(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 2))
		want := make([]byte, testMemory)
		var list []DataSegment
		total := 0
		for range 1 + r.IntN(40) {
			init := make([]byte, r.IntN(300))
			for i := range init {
				init[i] = byte(r.Uint32()) * byte(r.IntN(2))
			}
			offset := r.IntN(testMemory-len(init)+1) >> r.IntN(8)
			list = append(list, at(offset, string(init)))
			copy(want[offset:], init)
			total += len(init)
		}
		m, spans := takeData(t, dataModule(list...))
		if _, ok := m.Section(SectionData); ok {
			t.Fatalf("seed %d: there is a data section left", seed)
		}
		got := make([]byte, testMemory)
		end, size := uint64(0), 0
		for i, s := range spans {
			if i > 0 && s.Offset <= end {
				t.Fatalf("seed %d: span %d at %d touches the one before, which ends at %d", seed, i, s.Offset, end)
			}
			end = s.Offset + uint64(copy(got[s.Offset:], s.Bytes))
			size += len(s.Bytes)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("seed %d: memory differs", seed)
		}
		if size > total+spanGap*len(list) {
			t.Errorf("seed %d: %d bytes became %d", seed, total, size)
		}
	}
}

func TestSegmentsKeepTheirNumbersWhereCodeMayReferToThem(t *testing.T) {
	m, spans := takeData(t, countedModule(at(70000, "one"), DataSegment{Init: []byte("passive")}, at(3, ""), at(70001, "two")))
	if len(spans) != 1 || spans[0].Offset != 70000 || string(spans[0].Bytes) != "otwo" {
		t.Errorf("spans are %v", spans)
	}
	list, err := m.Data()
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, s := range list {
		got += fmt.Sprintf("%t %q ", s.Active, s.Init)
	}
	if want := `false "" false "passive" false "" false "" `; got != want || !m.HasDataCount {
		t.Errorf("segments are %swant %s", got, want)
	}
}

func TestDataIsLeftWhereTakingItWouldShow(t *testing.T) {
	one := at(0, "one")
	for name, src := range map[string][]byte{
		"no segments":                 mod(SectionMemory, "\x01\x00\x04"),
		"no memory":                   mod(SectionData, "\x01\x01\x01x"),
		"passive segments only":       countedModule(DataSegment{Init: []byte("two")}),
		"a segment outside memory":    dataModule(one, at(testMemory-1, "two")),
		"an empty one outside memory": dataModule(one, at(testMemory+1, "")),
		"a segment by a global":       dataModule(one, DataSegment{Active: true, Offset: []byte{opGlobalGet, 0, opEnd}, Init: []byte("x")}),
		"another memory":              mod(SectionMemory, "\x01\x00\x04", SectionData, "\x01\x02\x01\x41\x00\x0b\x01x"),
		"two memories":                mod(SectionMemory, "\x02\x00\x04\x00\x04", SectionData, "\x01\x00\x41\x00\x0b\x01x"),
		"64-bit memory":               mod(SectionMemory, "\x01\x04\x04", SectionData, "\x01\x00\x42\x00\x0b\x01x"),
	} {
		m, err := Parse(src)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got, spans, err := m.TakeData(); err != nil || !bytes.Equal(got, src) || spans != nil {
			t.Errorf("%s: changed, %d spans, %v", name, len(spans), err)
		}
	}
}

func FuzzTakeData(f *testing.F) {
	f.Add(dataModule(at(1, "one"), at(2, "two")))
	f.Add(countedModule(at(1, "one"), DataSegment{Init: []byte("x")}))
	f.Fuzz(func(t *testing.T, src []byte) {
		m, err := Parse(src)
		if err != nil {
			return
		}
		out, spans, err := m.TakeData()
		if err != nil {
			return
		}
		if m, err = Parse(out); err != nil {
			t.Fatal(err)
		}
		size := 0
		for _, s := range spans {
			size += len(s.Bytes)
			if end := s.Offset + uint64(len(s.Bytes)); end > m.Memories[0].Min<<m.Memories[0].PageSizeLog2 {
				t.Errorf("a span ends at %d, outside of memory", end)
			}
		}
		if size > spanGap*len(src) {
			t.Errorf("%d bytes of spans out of a module of %d", size, len(src))
		}
	})
}
