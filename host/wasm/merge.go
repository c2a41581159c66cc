package wasm

import (
	"cmp"
	"slices"
)

// mergeGap is how many zero bytes between two data segments are worth writing out to have one fewer.
const mergeGap = 4096

// MergeData writes the module with as few active data segments as its memory's first contents need. Some
// toolchains write thousands of small ones, which take longer to apply than their bytes to copy. A module
// whose segments cannot be merged, because code may refer to them, their places are not constant, or one
// lies outside of memory, is given back as it is.
func (m *Module) MergeData() ([]byte, error) {
	segments, err := m.Data()
	if err != nil {
		return nil, err
	}
	// Only a data count section lets code refer to segments (Wasm core specification, section 5.5.16).
	if len(segments) < 2 || m.HasDataCount || m.ImportedMemories > 0 || len(m.Memories) != 1 || m.Memories[0].Is64 {
		return m.src, nil
	}
	type span struct{ from, to uint64 }
	size := m.Memories[0].Min << m.Memories[0].PageSizeLog2
	var spans []span
	for _, s := range segments {
		offset, known := ConstI32(s.Offset)
		end := uint64(offset) + uint64(len(s.Init))
		if !s.Active || !known || end > size {
			return m.src, nil
		}
		if len(s.Init) > 0 {
			spans = append(spans, span{uint64(offset), end})
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	var merged []span
	for _, s := range spans {
		if last := len(merged) - 1; last >= 0 && s.from <= merged[last].to+mergeGap {
			merged[last].to = max(merged[last].to, s.to)
		} else {
			merged = append(merged, s)
		}
	}
	// Written in their order, because a later segment overwrites an earlier one.
	image := make([][]byte, len(merged))
	for _, s := range segments {
		offset, _ := ConstI32(s.Offset)
		if len(s.Init) == 0 {
			continue
		}
		i, found := slices.BinarySearchFunc(merged, uint64(offset), func(x span, at uint64) int { return cmp.Compare(x.from, at) })
		if !found {
			i-- // the span that starts before
		}
		if image[i] == nil {
			image[i] = make([]byte, merged[i].to-merged[i].from)
		}
		copy(image[i][uint64(offset)-merged[i].from:], s.Init)
	}
	body := AppendU32(nil, uint32(len(merged)))
	for i, s := range merged {
		body = AppendS64(append(body, 0, opI32Const), int64(int32(uint32(s.from))))
		body = AppendU32(append(body, opEnd), uint32(len(image[i])))
		body = append(body, image[i]...)
	}
	list := slices.Clone(m.Sections)
	for i := range list {
		if list[i].ID == SectionData {
			list[i].Body = body
		}
	}
	return Encode(list), nil
}
