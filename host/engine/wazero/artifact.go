package wazero

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"

	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/wasm"
)

// artifactFormat is the version of the artifact's layout and of the rewriting of guests: raise it whenever
// either changes.
const artifactFormat = 3

// An artifact is a file of wazero's compilation cache, which holds machine code, with more behind it:
//
//	wazero's file, and zeros to the end of a page
//	stub     the rewritten module without its code: what wazero needs to know besides machine code
//	facts    the guest's own module without code and data: imports, exports, names of functions
//	data     what was taken out of the module's data: for each span its offset and length, then its bytes
//	traits   JSON
//	key      the name under which wazero looks for a module with this stub
//	footer   where the stub starts and the lengths of the five, as 64 bits each, CRC-32C of all of it but wazero's
//	         file, magic
//
// wazero's file is read from its start and has its own end and checksum, so that the artifact is given to it
// as it is. wazero would decode and validate the whole module again, which takes longer than anything else;
// it gets the stub instead, which declares the same, and finds machine code under the stub's key. The
// code has been validated when it was compiled.
const (
	artifactMagic  = "wasmedge wazero\x02"
	pageSize       = 4096
	artifactParts  = 5
	artifactFooter = (1+artifactParts)*8 + 4 + len(artifactMagic)
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errArtifact = errors.New("wazero: the file is no artifact of this engine")

// parts makes what an artifact needs besides machine code; the facts and the key are missing yet.
func (r rewritten) parts() (parts, error) {
	m, err := wasm.Parse(r.binary)
	if err != nil {
		return parts{}, err
	}
	traits, err := json.Marshal(r.traits)
	if err != nil {
		return parts{}, fmt.Errorf("wazero: %w", err)
	}
	return parts{stub: m.Skeleton(func(wasm.Section) bool { return true }), data: appendSpans(nil, r.data), traits: traits}, nil
}

// appendSpans writes spans of a memory.
func appendSpans(b []byte, spans []wasm.Span) []byte {
	for _, s := range spans {
		b = binary.LittleEndian.AppendUint32(b, uint32(s.Offset))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(s.Bytes)))
		b = append(b, s.Bytes...)
	}
	return b
}

// readSpans reads what appendSpans wrote, for a memory of so many bytes. The spans refer to b.
func readSpans(b []byte, size uint64) ([]wasm.Span, error) {
	var spans []wasm.Span
	end := uint64(0)
	for len(b) > 0 {
		if len(b) < 8 {
			return nil, errArtifact
		}
		offset, n := uint64(binary.LittleEndian.Uint32(b)), uint64(binary.LittleEndian.Uint32(b[4:]))
		b = b[8:]
		if n == 0 || n > uint64(len(b)) || offset < end || offset+n > size {
			return nil, errArtifact
		}
		spans = append(spans, wasm.Span{Offset: offset, Bytes: b[:n]})
		end, b = offset+n, b[n:]
	}
	return spans, nil
}

// stubKey finds out under which name wazero looks for a module, by letting it compile that module, which has
// no code to speak of.
func (e *Engine) stubKey(stub []byte) (string, error) {
	c, err := e.build(context.Background(), rewritten{binary: stub})
	if err != nil {
		return "", err
	}
	defer c.release()
	names, err := c.entries()
	if err != nil {
		return "", err
	}
	if len(names) != 1 {
		return "", engine.ErrNoArtifact
	}
	return filepath.Base(names[0]), nil
}

// Serialize gives the artifact.
func (m *module) Serialize() ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		return nil, errModuleClosed
	case m.entry == nil:
		return nil, engine.ErrNoArtifact
	}
	info, err := m.entry.Stat()
	if err != nil {
		return nil, fmt.Errorf("wazero: %w", err)
	}
	code := io.NewSectionReader(m.entry, 0, info.Size())
	p := m.parts
	p.facts = m.facts.module.Bytes()
	out := bytes.NewBuffer(make([]byte, 0, int(info.Size())+len(p.stub)+len(p.facts)+len(p.data)+pageSize))
	if _, err := out.ReadFrom(code); err != nil {
		return nil, fmt.Errorf("wazero: %w", err)
	}
	if m.loaded {
		return out.Bytes(), nil
	}
	if p.key, err = m.e.stubKey(p.stub); err != nil {
		return nil, err
	}
	b := append(out.Bytes(), make([]byte, -out.Len()&(pageSize-1))...)
	return p.append(b), nil
}

// Load maps an artifact. The file may be removed afterwards.
func (e *Engine) Load(path string) (engine.Module, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("wazero: %w", err)
	}
	m, err := e.load(path, f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return m, nil
}

// parts are what follows wazero's file in an artifact.
type parts struct {
	stub, facts, data, traits []byte
	key                       string
}

// append writes the parts behind wazero's file.
func (p parts) append(b []byte) []byte {
	start := len(b)
	list := [artifactParts][]byte{p.stub, p.facts, p.data, p.traits, []byte(p.key)}
	for _, part := range list {
		b = append(b, part...)
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(start))
	for _, part := range list {
		b = binary.LittleEndian.AppendUint64(b, uint64(len(part)))
	}
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
	return append(b, artifactMagic...)
}

func readParts(f *os.File) (parts, error) {
	var p parts
	info, err := f.Stat()
	if err != nil {
		return p, fmt.Errorf("wazero: %w", err)
	}
	size := info.Size()
	if size < int64(artifactFooter) || size > math.MaxInt32 {
		return p, errArtifact
	}
	footer := make([]byte, artifactFooter)
	if _, err := f.ReadAt(footer, size-int64(artifactFooter)); err != nil {
		return p, fmt.Errorf("wazero: %w", err)
	}
	if string(footer[artifactFooter-len(artifactMagic):]) != artifactMagic {
		return p, errArtifact
	}
	var n [1 + artifactParts]uint64
	left := uint64(size) - uint64(artifactFooter)
	for i := range n {
		n[i] = binary.LittleEndian.Uint64(footer[8*i:])
		if n[i] > left {
			return p, errArtifact
		}
		left -= n[i]
	}
	if left != 0 {
		return p, errArtifact
	}
	const lengths = 8 * len(n)
	b := make([]byte, uint64(size)-n[0]-uint64(artifactFooter-lengths))
	if _, err := f.ReadAt(b, int64(n[0])); err != nil {
		return p, fmt.Errorf("wazero: %w", err)
	}
	if crc32.Checksum(b, castagnoli) != binary.LittleEndian.Uint32(footer[lengths:]) {
		return p, fmt.Errorf("%w: its checksum is wrong", errArtifact)
	}
	var key []byte
	for i, part := range []*[]byte{&p.stub, &p.facts, &p.data, &p.traits, &key} {
		*part, b = bytes.Clone(b[:n[1+i]]), b[n[1+i]:]
	}
	p.key = string(key)
	return p, nil
}

func (e *Engine) load(path string, f *os.File) (engine.Module, error) {
	if !e.compiler {
		return nil, engine.ErrNoArtifact
	}
	p, err := readParts(f)
	if err != nil {
		return nil, err
	}
	m, err := wasm.Parse(p.facts)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errArtifact, err)
	}
	facts := factsOf(m)
	stub, err := wasm.Parse(p.stub)
	if err == nil {
		err = facts.checkElements(stub)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errArtifact, err)
	}
	if err := facts.check(e.cfg.MaxMemory, e.cfg.MaxTableElements); err != nil {
		return nil, err
	}
	r := rewritten{}
	if r.data, err = readSpans(p.data, facts.min); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(p.traits, &r.traits); err != nil {
		return nil, fmt.Errorf("%w: %w", errArtifact, err)
	}
	c, err := e.newRuntime()
	if err != nil {
		return nil, err
	}
	if err = c.provide(r); err == nil {
		err = c.compileFrom(path, f, p)
	}
	if err != nil {
		c.release()
		return nil, err
	}
	return &module{e: e, code: c, facts: facts, entry: f, loaded: true}, nil
}

// compileFrom lets wazero find the artifact in its cache. Were it not to find it there, it would compile the
// stub: that has no use, and is an error.
func (c *code) compileFrom(path string, f *os.File, p parts) error {
	if p.key == "" || p.key != filepath.Base(p.key) {
		return errArtifact
	}
	dirs, err := filepath.Glob(filepath.Join(c.dir, "*"))
	if err != nil || len(dirs) != 1 {
		return fmt.Errorf("wazero: the cache has %d directories, expected one", len(dirs))
	}
	entry := filepath.Join(dirs[0], p.key)
	if err := link(path, f, entry); err != nil {
		return fmt.Errorf("wazero: %w", err)
	}
	before, err := os.Lstat(entry)
	if err != nil {
		return fmt.Errorf("wazero: %w", err)
	}
	if err := c.compile(context.Background(), p.stub); err != nil {
		return fmt.Errorf("%w: %w", errArtifact, err)
	}
	names, err := c.entries()
	if err != nil {
		return fmt.Errorf("wazero: %w", err)
	}
	after, err := os.Lstat(entry)
	if err != nil || len(names) != 1 || !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) {
		return fmt.Errorf("%w: it was made for another processor or version", errArtifact)
	}
	os.Remove(entry)
	return nil
}

// link makes the artifact appear at entry: by a link, else by a copy.
func link(path string, f *os.File, entry string) error {
	if abs, err := filepath.Abs(path); err == nil && os.Symlink(abs, entry) == nil {
		return nil
	}
	out, err := os.OpenFile(entry, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, io.NewSectionReader(f, 0, math.MaxInt64)); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
