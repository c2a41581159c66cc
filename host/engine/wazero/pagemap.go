package wazero

import "sync"

// pageFinder finds the pages of this process that were written to.
type pageFinder struct {
	fd   int
	scan bool // by the scanning call of newer kernels, as opposed to reading an entry for each page
}

// pagemap is the best way that this process has to find pages; nil for none.
var pagemap = sync.OnceValue(openPagemap)
