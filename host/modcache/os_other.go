//go:build !unix

package modcache

import (
	"errors"
	"io/fs"
	"os"
)

const openFlags = 0

// checkPrivate cannot see owners here; the directory below the user's profile is private by its access list.
func checkPrivate(fs.FileInfo, fs.FileMode) error { return nil }

func tryLockFile(*os.File) (bool, error) { return false, errors.ErrUnsupported }

func descriptorPath(_ *os.File, path string) string { return path }
