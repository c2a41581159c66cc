package manifest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Bounds on what a manifest may have read, in bytes. They stop a wrong path from filling the memory.
const (
	maxDataFile  = 128 << 20 // value of a KV item; five times what the platform takes
	maxJSONFile  = 64 << 20
	maxPEMFile   = 4 << 20
	maxSecret    = 4 << 20 // file of one secret; the platform takes 64 KiB
	maxFilesRead = 1 << 30 // all files of one manifest together
)

// fileReader reads at most limit bytes of a file.
type fileReader func(path string, limit int64) ([]byte, error)

// readFile is the fileReader of the operating system.
func readFile(path string, limit int64) ([]byte, error) {
	// Opening a named pipe would wait for a writer, so look first.
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		if info.IsDir() {
			return nil, errors.New("a folder, not a file")
		}
		return nil, errors.New("not a regular file")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // read only: closing tells nothing new
	src, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(src)) > limit {
		return nil, fmt.Errorf("larger than %d bytes", limit)
	}
	return src, nil
}

// file reads the file that v, a string, names, and gives the path under which it was found.
func (r *reader) file(v *value, limit int64) (src []byte, path string, ok bool) {
	if v.kind != kindString {
		r.fail(v, "the path of a file", "this is %s", v.kind)
		return nil, "", false
	}
	src, path, err := r.open(v.text, limit)
	if err != nil {
		r.problem(&Problem{Pos: r.pos(v.off), Key: v.path(), Err: err, Text: err.Error()})
		return nil, "", false
	}
	return src, path, true
}

// open reads a file by a path as the manifest gives it, and gives the path under which it was found: the
// working directory comes first, then the folder of the manifest.
func (r *reader) open(path string, limit int64) (src []byte, found string, err error) {
	if strings.TrimSpace(path) == "" {
		return nil, "", errors.New("the path is blank")
	}
	found = path
	src, err = r.files(found, limit)
	where := ""
	if folder := filepath.Dir(r.name); errors.Is(err, fs.ErrNotExist) && !filepath.IsAbs(path) {
		where = " in the working directory"
		if folder != "." {
			where += " or in " + folder
			found = filepath.Join(folder, path)
			src, err = r.files(found, limit)
		}
	}
	if err == nil {
		if r.filesRead += int64(len(src)); r.filesRead <= maxFilesRead {
			return src, found, nil
		}
		err = fmt.Errorf("the files of this manifest have more than %d bytes together", int64(maxFilesRead))
	}
	if !errors.Is(err, fs.ErrNotExist) {
		where = ""
	}
	if inner := (*fs.PathError)(nil); errors.As(err, &inner) {
		err = inner.Err // the path is said here
	}
	return nil, "", fmt.Errorf("cannot read the file %s%s: %w", displayText(path), where, err)
}

// badJSON reports that a file has been read but does not hold what it should. The error's text begins
// with line:column.
func (r *reader) badJSON(v *value, path string, err error) {
	r.problem(&Problem{Pos: r.pos(v.off), Key: v.path(), Err: err, Text: path + ":" + err.Error()})
}
