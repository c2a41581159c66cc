package modcache

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
)

// formatVersion changes whenever entries written before must not be read any more.
const formatVersion = "wasmedge module cache, format 1"

// chunkSize is the unit that is hashed at once by one goroutine: small enough that an artifact of some
// megabytes keeps several cores busy, large enough that handing it out costs nothing.
const chunkSize = 1 << 20

// maxHashers bounds the cores used for hashing; beyond it memory bandwidth is the limit.
const maxHashers = 8

// key names an entry: everything that its artifact depends on.
type key [sha256.Size]byte

func (k key) String() string { return hex.EncodeToString(k[:]) }

// makeKey digests the engine's fingerprint and the module.
func makeKey(fingerprint string, wasm []byte) key {
	h := sha256.New()
	writeField(h, []byte(formatVersion))
	writeField(h, []byte(fingerprint))
	chunks, _ := chunkDigests(memory(wasm), int64(len(wasm))) // memory cannot fail
	writeField(h, chunks)
	return key(h.Sum(nil))
}

// mac is the keyed digest of an entry. The entry's key is part of it, so that no artifact passes for another.
type mac [sha256.Size]byte

func makeMAC(secret []byte, k key, r io.ReaderAt, size int64) (mac, error) {
	chunks, err := chunkDigests(r, size)
	if err != nil {
		return mac{}, err
	}
	h := hmac.New(sha256.New, secret)
	writeField(h, []byte(formatVersion))
	writeField(h, k[:])
	writeField(h, binary.LittleEndian.AppendUint64(nil, uint64(size)))
	writeField(h, chunks)
	return mac(h.Sum(nil)), nil
}

// writeField writes b behind its length, so that no two lists of fields give the same bytes.
func writeField(w io.Writer, b []byte) {
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], uint64(len(b)))
	w.Write(n[:]) // hash.Hash never fails
	w.Write(b)
}

// chunkDigests is the SHA-256 of each chunk, in order. Chunks are hashed in parallel: what is digested here is
// read in full at every start, and a start should take a few milliseconds.
func chunkDigests(r io.ReaderAt, size int64) ([]byte, error) {
	chunks := (size + chunkSize - 1) / chunkSize
	sums := make([]byte, chunks*sha256.Size)
	hashers := min(int64(runtime.GOMAXPROCS(0)), maxHashers, chunks)

	var next atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for range hashers {
		wg.Go(func() {
			var buf []byte
			for failed.Load() == nil {
				i := next.Add(1) - 1
				if i >= chunks {
					return
				}
				off := i * chunkSize
				n := int(min(chunkSize, size-off))
				var chunk []byte
				if m, ok := r.(memory); ok {
					chunk = m[off:][:n]
				} else {
					if buf == nil {
						buf = make([]byte, min(chunkSize, size))
					}
					chunk = buf[:n]
					// At the end of a file ReadAt may give io.EOF together with all the bytes.
					if got, err := r.ReadAt(chunk, off); got < n {
						err = fmt.Errorf("reading at %d: %w", off, err)
						failed.CompareAndSwap(nil, &err)
						return
					}
				}
				sum := sha256.Sum256(chunk)
				copy(sums[i*sha256.Size:], sum[:])
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return nil, *err
	}
	return sums, nil
}

// memory is bytes that need no reading.
type memory []byte

// ReadAt makes memory an io.ReaderAt.
func (m memory) ReadAt(p []byte, off int64) (int, error) {
	n := copy(p, m[min(off, int64(len(m))):])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
