//go:build !linux

package wazero

func openPagemap() *pageFinder { return nil }

func (*pageFinder) dirty(_, _ uintptr, _ func(start, end uintptr) bool) bool { return false }
