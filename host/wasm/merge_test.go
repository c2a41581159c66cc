package wasm

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// image applies the active data segments of a module to a memory of 4 pages.
func image(t *testing.T, src []byte) ([]byte, int) {
	t.Helper()
	m, err := Parse(src)
	if err != nil {
		t.Fatal(err)
	}
	data, err := m.Data()
	if err != nil {
		t.Fatal(err)
	}
	mem := make([]byte, 4<<16)
	for _, d := range data {
		at, ok := ConstI32(d.Offset)
		if !ok {
			t.Fatal("an offset is not constant")
		}
		copy(mem[at:], d.Init)
	}
	return mem, len(data)
}

func dataModule(segments ...DataSegment) []byte {
	body := AppendU32(nil, uint32(len(segments)))
	for _, s := range segments {
		if !s.Active {
			body = append(body, 1)
		} else {
			body = append(append(body, 0), s.Offset...)
		}
		body = append(AppendU32(body, uint32(len(s.Init))), s.Init...)
	}
	return mod(SectionMemory, "\x01\x00\x04", SectionData, string(body))
}

func at(offset int, init []byte) DataSegment {
	return DataSegment{Active: true, Offset: append(AppendS64([]byte{opI32Const}, int64(offset)), opEnd), Init: init}
}

func TestMergedDataIsTheSameMemory(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 2))
		var list []DataSegment
		for range 2 + r.IntN(40) {
			init := make([]byte, r.IntN(300))
			for i := range init {
				init[i] = byte(r.Uint32())
			}
			list = append(list, at(r.IntN(4<<16-len(init)+1)>>r.IntN(8), init))
		}
		src := dataModule(list...)
		m, err := Parse(src)
		if err != nil {
			t.Fatal(err)
		}
		merged, err := m.MergeData()
		if err != nil {
			t.Fatal(err)
		}
		want, before := image(t, src)
		got, after := image(t, merged)
		if !bytes.Equal(got, want) {
			t.Fatalf("seed %d: memory differs", seed)
		}
		if after > before {
			t.Errorf("seed %d: %d segments became %d", seed, before, after)
		}
	}
}

func TestDataIsLeftAloneWhereMergingWouldShow(t *testing.T) {
	one := at(0, []byte("one"))
	for name, src := range map[string][]byte{
		"a passive segment":          dataModule(one, DataSegment{Init: []byte("two")}),
		"a segment outside memory":   dataModule(one, at(4<<16-1, []byte("two"))),
		"a segment by a global":      dataModule(one, DataSegment{Active: true, Offset: []byte{opGlobalGet, 0, opEnd}, Init: []byte("x")}),
		"segments that code may use": mod(SectionMemory, "\x01\x00\x04", SectionDataCount, "\x02", SectionData, "\x02\x00\x41\x00\x0b\x01a\x00\x41\x01\x0b\x01b"),
		"a single segment":           dataModule(one),
	} {
		m, err := Parse(src)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := m.MergeData(); err != nil || !bytes.Equal(got, src) {
			t.Errorf("%s: changed, %v", name, err)
		}
	}
}
