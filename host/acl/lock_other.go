//go:build !unix

package acl

import "os"

// lockFile does nothing here: of two processes that update an ACL at the same moment, one may lose its update.
func lockFile(*os.File) error { return nil }

// syncDir does nothing: directories cannot be synced here.
func syncDir(string) error { return nil }
