package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Find gives the path of the manifest in the folder dir, which is the working directory when empty:
// wasmedge.toml, or else fastly.toml. A project that has both wrote the first one for this program. With an
// env, it is wasmedge.ENV.toml, or else fastly.ENV.toml, and never the file without it. When there is none,
// the error says what was looked for and wraps fs.ErrNotExist.
func Find(dir, env string) (string, error) {
	if dir == "" {
		dir = "."
	}
	ending := ".toml"
	if env != "" {
		if strings.ContainsAny(env, `/\`) || strings.ContainsRune(env, 0) {
			return "", fmt.Errorf("manifest: environment name %s: want a part of a file name, such as stage for fastly.stage.toml", displayText(env))
		}
		ending = "." + env + ending
	}
	for _, name := range []string{"wasmedge", "fastly"} {
		path := filepath.Join(dir, name+ending)
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return "", fmt.Errorf("manifest: %w", err)
		case !info.IsDir():
			return path, nil
		}
	}
	return "", fmt.Errorf("manifest: no fastly%s and no wasmedge%s in %s: %w", ending, ending, dir, fs.ErrNotExist)
}
