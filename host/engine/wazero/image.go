package wazero

import (
	"cmp"
	"fmt"
	"os"
	"slices"

	"github.com/edgewasm/wasmedge/host/wasm"
)

const (
	// maxRuns is how many stretches of memory an image fills at most. Each costs every instance a system call and up
	// to two of the mappings that the system lets a process have.
	maxRuns = 4

	// runGap is how many bytes between two stretches are filled with zeros rather than left out.
	runGap = 1 << 16

	// An image is not worth it, and would let a small module take much memory for as long as it is loaded, when it
	// takes more than sparse times the bytes of its segments, and sparseAllowed more.
	sparse        = 16
	sparseAllowed = 1 << 20
)

var osPage = uint64(os.Getpagesize())

// image is the first content of a module's memory, in whole pages. Instances map it copy-on-write, or copy it
// where nothing can be mapped. It does not change.
type image struct {
	runs    []run
	content []byte   // of all runs, one behind the other
	file    *os.File // that content is mapped from; nil where nothing is mapped
}

// run is a stretch of memory that an image fills.
type run struct {
	start, end uint64 // in memory
	at         uint64 // in the image
}

// layout says which stretches of memory an image of spans fills, and whether it is worth having.
func layout(spans []wasm.Span) (runs []run, worth bool) {
	var bytes, pages uint64
	for _, s := range spans {
		bytes += uint64(len(s.Bytes))
		start := s.Offset &^ (osPage - 1)
		end := (s.Offset + uint64(len(s.Bytes)) + osPage - 1) &^ (osPage - 1)
		last := len(runs) - 1
		if last < 0 || start > runs[last].end+runGap {
			runs = append(runs, run{start: start, end: end})
			pages += end - start
		} else if end > runs[last].end {
			pages += end - max(start, runs[last].end)
			runs[last].end = end
		}
	}
	if len(runs) > maxRuns {
		// Keep the widest gaps.
		gaps := make([]int, len(runs)-1) // behind which run
		for i := range gaps {
			gaps[i] = i
		}
		slices.SortStableFunc(gaps, func(a, b int) int {
			return cmp.Compare(runs[b+1].start-runs[b].end, runs[a+1].start-runs[a].end)
		})
		kept := slices.Sorted(slices.Values(gaps[:maxRuns-1]))
		joined := make([]run, 0, maxRuns)
		first := 0
		for _, g := range append(kept, len(runs)-1) {
			joined = append(joined, run{start: runs[first].start, end: runs[g].end})
			first = g + 1
		}
		runs = joined
	}
	var size uint64
	for i := range runs {
		runs[i].at = size
		size += runs[i].end - runs[i].start
	}
	return runs, pages <= sparse*bytes+sparseAllowed && size <= 2*pages+sparseAllowed
}

// newImage makes an image of spans; nil for none. A mapped one lives in a file without a name, in dir if the
// system has no better place.
func newImage(spans []wasm.Span, mapped bool, dir string) (*image, error) {
	if len(spans) == 0 {
		return nil, nil
	}
	im := new(image)
	im.runs, _ = layout(spans)
	last := im.runs[len(im.runs)-1]
	content := make([]byte, last.at+last.end-last.start)
	i := 0
	for _, s := range spans {
		for s.Offset >= im.runs[i].end {
			i++
		}
		copy(content[im.runs[i].at+s.Offset-im.runs[i].start:], s.Bytes)
	}
	if !mapped {
		im.content = content
		return im, nil
	}
	var err error
	if im.file, im.content, err = imageFile(content, dir); err != nil {
		return nil, fmt.Errorf("wazero: cannot keep the first content of memory: %w", err)
	}
	return im, nil
}

// close frees the image; no memory may refer to its content any more. Mappings of it stay.
func (im *image) close() {
	if im != nil && im.file != nil {
		unreserve(im.content)
		im.file.Close()
	}
}

// zeroes is the first content of a page that no image fills.
var zeroes = make([]byte, osPage)

// page gives the first content of the page of memory at offset.
func (im *image) page(offset uint64) []byte {
	if im != nil {
		for _, r := range im.runs {
			if offset >= r.start && offset < r.end {
				return im.content[r.at+offset-r.start:][:osPage]
			}
		}
	}
	return zeroes
}

// fill writes the first content of all of memory, by copying.
func (im *image) fill(memory []byte) {
	at := uint64(0)
	if im != nil {
		for _, r := range im.runs {
			clear(memory[at:r.start])
			copy(memory[r.start:r.end], im.content[r.at:])
			at = r.end
		}
	}
	clear(memory[at:])
}
