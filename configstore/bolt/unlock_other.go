//go:build !unix

package bolt

import "os"

// unlock does nothing: where there is no flock, closing the file lets others in.
func unlock(*os.File) {}
