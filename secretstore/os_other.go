//go:build !unix

package secretstore

import (
	"io/fs"
	"os"
	"os/exec"
)

// Here one process at a time may change a directory of stores, and file modes say nothing.

func lockFile(*os.File) error                 { return nil }
func syncDir(string) error                    { return nil }
func checkWritable(string, fs.FileInfo) error { return nil }
func readableBy(fs.FileInfo) (_, _ bool)      { return false, false }
func killGroup(*exec.Cmd)                     {}
