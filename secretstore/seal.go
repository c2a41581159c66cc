package secretstore

import (
	"crypto/rand"
	"errors"

	"golang.org/x/crypto/chacha20poly1305"
)

const (
	nonceSize = chacha20poly1305.NonceSizeX // 24
	tagSize   = chacha20poly1305.Overhead   // 16
)

// errOpen is a message that does not authenticate. Callers say which.
var errOpen = errors.New("message authentication failed")

// seal and open are XChaCha20-Poly1305, bit for bit that of chacha20poly1305.NewX. That one copies its key into the heap, for
// as long as it is kept; here the key stays where it is, and what reaches the heap is the derived key of one message.

func (k *lockedKey) seal(nonce *[nonceSize]byte, plaintext, ad []byte) ([]byte, error) {
	rand.Read(nonce[:])
	sub, err := k.subkey(nonce)
	if err != nil {
		return nil, err
	}
	defer clear(sub)
	aead, err := chacha20poly1305.New(sub)
	if err != nil {
		return nil, err
	}
	var short [chacha20poly1305.NonceSize]byte
	copy(short[4:], nonce[16:])
	return aead.Seal(make([]byte, 0, len(plaintext)+tagSize), short[:], plaintext, ad), nil
}

// open decrypts into dst, which has room for exactly the plaintext. When it fails dst holds zeros.
func (k *lockedKey) open(dst []byte, nonce *[nonceSize]byte, box, ad []byte) error {
	sub, err := k.subkey(nonce)
	if err != nil {
		clear(dst)
		return err
	}
	defer clear(sub)
	aead, err := chacha20poly1305.New(sub)
	if err != nil {
		clear(dst)
		return err
	}
	var short [chacha20poly1305.NonceSize]byte
	copy(short[4:], nonce[16:])
	if _, err := aead.Open(dst[:0:len(dst)], short[:], box, ad); err != nil {
		clear(dst)
		return errOpen
	}
	return nil
}
