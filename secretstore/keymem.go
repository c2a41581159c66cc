package secretstore

import (
	"crypto/rand"
	"runtime"
	"sync"

	"golang.org/x/crypto/chacha20"
)

const keySize = chacha20.KeySize // 32 bytes, of every key here

// slots are places for keys outside the heap. Pages are never given back to the system: their places are used again.
var slots struct {
	sync.Mutex
	free []*[keySize]byte
}

func takeSlot() *[keySize]byte {
	slots.Lock()
	defer slots.Unlock()
	if len(slots.free) == 0 {
		page := keyPage()
		for len(page) >= keySize {
			slots.free = append(slots.free, (*[keySize]byte)(page))
			page = page[keySize:]
		}
	}
	last := len(slots.free) - 1
	slot := slots.free[last]
	slots.free = slots.free[:last]
	return slot
}

func giveSlot(slot *[keySize]byte) {
	clear(slot[:])
	slots.Lock()
	slots.free = append(slots.free, slot)
	slots.Unlock()
}

// lockedKey is a key in memory of its own. It is overwritten by destroy, or some time after nothing refers to it.
type lockedKey struct {
	mu      sync.RWMutex
	slot    *[keySize]byte // nil once destroyed
	cleanup runtime.Cleanup
}

func newLockedKey() *lockedKey {
	k := &lockedKey{slot: takeSlot()}
	k.cleanup = runtime.AddCleanup(k, giveSlot, k.slot)
	return k
}

func randomKey() *lockedKey {
	k := newLockedKey()
	rand.Read(k.slot[:]) // never fails: it ends the process when the system has no randomness
	return k
}

// copyKey takes the key that b holds and overwrites b.
func copyKey(b []byte) *lockedKey {
	k := newLockedKey()
	copy(k.slot[:], b)
	clear(b)
	return k
}

func (k *lockedKey) destroy() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.slot != nil {
		k.cleanup.Stop()
		giveSlot(k.slot)
		k.slot = nil
	}
}

// with lets f read the key where it lies.
func (k *lockedKey) with(f func(key []byte) error) error {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.slot == nil {
		return ErrClosed
	}
	return f(k.slot[:])
}

// subkey derives the key of one message from the first 16 bytes of its nonce.
func (k *lockedKey) subkey(nonce *[nonceSize]byte) (sub []byte, err error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.slot == nil {
		return nil, ErrClosed
	}
	return chacha20.HChaCha20(k.slot[:], nonce[:16])
}
