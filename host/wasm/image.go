package wasm

import (
	"bytes"
	"cmp"
	"slices"
)

// Span is bytes that lie together in a memory.
type Span struct {
	Offset uint64
	Bytes  []byte
}

// spanGap is how many zero bytes between two spans are worth writing out to have one fewer: about as many as it
// takes to tell of another. So spans take no more than a few times the space of the segments that they are made of.
const spanGap = 16

// TakeData takes the active data segments out of a module and gives what they put into its memory, as spans in the
// order of their offsets, so that a host can provide memory with this content rather than have it copied into each
// instance. Outside of the spans memory is zero. Segments keep their numbers where code may refer to them: an active
// one is dropped once it has been applied (Wasm core specification, section 4.5.4), so that an empty passive one
// takes its place.
//
// The module is given back as it is, without spans, when it has no such segments, when their places are not plain
// constants, when one lies outside of memory, or when the memory is not its only one and its own. A module without
// memory is among these.
func (m *Module) TakeData() ([]byte, []Span, error) {
	segments, err := m.Data()
	if err != nil {
		return nil, nil, err
	}
	if m.ImportedMemories > 0 || len(m.Memories) != 1 || m.Memories[0].Is64 {
		return m.src, nil, nil
	}
	size := m.Memories[0].Min << m.Memories[0].PageSizeLog2
	active := false
	list := make([]placed, 0, len(segments))
	for _, s := range segments {
		if !s.Active {
			continue
		}
		active = true
		offset, known := ConstI32(s.Offset)
		end := uint64(offset) + uint64(len(s.Init))
		if !known || s.Memory != 0 || end > size {
			return m.src, nil, nil
		}
		if len(s.Init) > 0 {
			list = append(list, placed{uint64(offset), s.Init})
		}
	}
	if !active {
		return m.src, nil, nil
	}
	var out []Section
	for _, s := range m.Sections {
		if s.ID == SectionData {
			if !m.HasDataCount {
				continue // nothing can refer to segments (section 5.5.16)
			}
			s.Body = keepPassive(segments)
		}
		out = append(out, s)
	}
	return Encode(out), spansOf(list), nil
}

// placed is a segment and where it goes.
type placed struct {
	from uint64
	init []byte
}

// spansOf applies segments in their order, because a later one overwrites an earlier one.
func spansOf(list []placed) []Span {
	sorted := slices.Clone(list)
	slices.SortStableFunc(sorted, func(a, b placed) int { return cmp.Compare(a.from, b.from) })
	type bounds struct{ from, to uint64 }
	var merged []bounds
	for _, s := range sorted {
		to := s.from + uint64(len(s.init))
		if last := len(merged) - 1; last >= 0 && s.from <= merged[last].to+spanGap {
			merged[last].to = max(merged[last].to, to)
		} else {
			merged = append(merged, bounds{s.from, to})
		}
	}
	spans := make([]Span, len(merged))
	for i, b := range merged {
		spans[i] = Span{b.from, make([]byte, b.to-b.from)}
	}
	for _, s := range list {
		i, found := slices.BinarySearchFunc(spans, s.from, func(x Span, at uint64) int { return cmp.Compare(x.Offset, at) })
		if !found {
			i-- // the span that starts before
		}
		copy(spans[i].Bytes[s.from-spans[i].Offset:], s.init)
	}
	return slices.DeleteFunc(spans, func(s Span) bool { return len(bytes.Trim(s.Bytes, "\x00")) == 0 })
}

// keepPassive writes a data section in which each active segment is an empty passive one.
func keepPassive(segments []DataSegment) []byte {
	body := AppendU32(nil, uint32(len(segments)))
	for _, s := range segments {
		if s.Active {
			s.Init = nil
		}
		body = append(AppendU32(append(body, 1), uint32(len(s.Init))), s.Init...)
	}
	return body
}
