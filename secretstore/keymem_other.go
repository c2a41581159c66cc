//go:build !linux

package secretstore

import "os"

// keyPage gives a page of zeros for keys, here an ordinary one.
func keyPage() []byte { return make([]byte, os.Getpagesize()) }
