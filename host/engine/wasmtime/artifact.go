//go:build cgo && (linux || darwin) && (amd64 || arm64)

package wasmtime

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"github.com/edgewasm/wasmedge/host/engine"
)

// An artifact is what wasmtime serialised (an ELF file) followed by
//
//	facts of the module, JSON
//	length of the facts, 8 bytes, little-endian
//	length of the whole artifact, 8 bytes, little-endian
//	artifactMagic, 16 bytes
//
// The end is where a file that was not written whole differs. wasmtime reads an ELF file from its head and does
// not mind what follows.
const artifactMagic = "wasmedge.wt.art1"

const (
	trailerSize  = int64(8 + 8 + len(artifactMagic))
	maxFactsSize = 64 << 20
)

// artifactFacts are the JSON at the end of an artifact.
type artifactFacts struct {
	Fingerprint string `json:"fingerprint"`
	facts
}

// Serialize implements engine.Module.
func (m *module) Serialize() ([]byte, error) {
	if !m.refs.acquire() {
		return nil, errModuleClosed
	}
	defer m.refs.release()
	end, err := json.Marshal(artifactFacts{m.engine.fingerprint, m.facts})
	if err != nil {
		return nil, err
	}
	var out C.wasm_byte_vec_t
	if err := takeError(C.we_module_serialize(m.c, &out)); err != nil {
		return nil, err
	}
	defer C.wasm_byte_vec_delete(&out)
	elf := unsafe.Slice((*byte)(unsafe.Pointer(out.data)), int(out.size))
	b := make([]byte, 0, len(elf)+len(end)+int(trailerSize))
	b = append(b, elf...)
	b = append(b, end...)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(end)))
	b = binary.LittleEndian.AppendUint64(b, uint64(cap(b)))
	return append(b, artifactMagic...), nil
}

// Load implements engine.Engine. It recognises a file that is no artifact, is incomplete, or was written by an
// engine with another fingerprint; it cannot recognise one that was forged. The file stays mapped: it may be removed
// or replaced (rename), but must never be changed in place.
func (e *wasmtimeEngine) Load(path string) (engine.Module, error) {
	f, err := readFacts(path)
	if err != nil {
		return nil, err
	}
	if f.Fingerprint != e.fingerprint {
		return nil, fmt.Errorf("wasmtime: %s was made by %q, this engine is %q", path, f.Fingerprint, e.fingerprint)
	}
	if err := f.check(e.cfg.MaxMemory, e.cfg.MaxTableElements); err != nil {
		return nil, err
	}
	if err := e.acquire(); err != nil {
		return nil, err
	}
	cpath := C.CString(path)
	defer C.free(unsafe.Pointer(cpath))
	var c *C.wasmtime_module_t
	if err := takeError(C.we_module_load(e.c, cpath, &c)); err != nil {
		e.refs.release()
		return nil, err
	}
	m := newModule(e, c, f.facts)
	var start, end unsafe.Pointer
	C.wasmtime_module_image_range(c, &start, &end)
	m.image = wholePages(uint64(uintptr(start)), uint64(uintptr(end)))
	return m, nil
}

// readFacts reads the end of an artifact.
func readFacts(path string) (*artifactFacts, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	size := info.Size()
	var trailer [trailerSize]byte
	if size < trailerSize {
		return nil, fmt.Errorf("wasmtime: %s is no artifact: it has %d bytes", path, size)
	}
	if _, err := file.ReadAt(trailer[:], size-trailerSize); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint64(trailer[0:])
	switch {
	case string(trailer[16:]) != artifactMagic:
		return nil, fmt.Errorf("wasmtime: %s is no artifact, or not a whole one: its end is missing", path)
	case binary.LittleEndian.Uint64(trailer[8:]) != uint64(size):
		return nil, fmt.Errorf("wasmtime: %s has %d bytes, it was written with %d", path, size, binary.LittleEndian.Uint64(trailer[8:]))
	case n > maxFactsSize || n > uint64(size-trailerSize):
		return nil, fmt.Errorf("wasmtime: %s is damaged: its facts would have %d bytes", path, n)
	}
	b := make([]byte, n)
	if _, err := file.ReadAt(b, size-trailerSize-int64(n)); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	f := new(artifactFacts)
	if err := json.Unmarshal(b, f); err != nil {
		return nil, fmt.Errorf("wasmtime: %s is damaged: %w", path, err)
	}
	return f, nil
}
