package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/edgewasm/wasmedge/secretstore"
)

// secretsFolder is where a data directory has its secret stores.
const secretsFolder = "secrets"

// openSecrets opens the secret stores of the data directory, all of them at once, so that a damaged one or a wrong key is
// told at the start. A store of the manifest's hides one of the same name.
func (s *session) openSecrets(ctx *cli.Context) error {
	dir, sources := ctx.String("data-dir"), ctx.StringSlice("secret-key")
	if dir == "" {
		if len(sources) > 0 {
			return &usageError{ctx.Command.Name, "--secret-key needs --data-dir, whose secret stores it opens"}
		}
		return nil
	}
	path := filepath.Join(dir, secretsFolder)
	if len(sources) == 0 {
		if entries, err := os.ReadDir(path); err == nil && len(entries) > 0 {
			return fmt.Errorf("%s holds secret stores: say with --secret-key what key opens them", path)
		}
		return nil
	}
	keys, err := secretstore.KeyringFrom(ctx.Context, sources, func(err error) { s.log.Warn("--secret-key: " + err.Error()) })
	if err != nil {
		return fmt.Errorf("--secret-key: %w", err)
	}
	stores, err := secretstore.OpenDir(path, keys)
	if err != nil {
		keys.Destroy()
		return err
	}
	names, err := stores.Names()
	for _, name := range names {
		if _, e := stores.Open(name); !errors.Is(e, secretstore.ErrNoStore) { // it may have been dropped just now
			err = errors.Join(err, e)
		}
	}
	if err != nil {
		return errors.Join(err, stores.Close())
	}
	s.secrets = stores
	chain := secretstore.Chain{stores}
	if s.conf.SecretStores != nil {
		for _, name := range names {
			if _, err := s.conf.SecretStores.Open(name); err == nil {
				s.log.Warn(fmt.Sprintf("the secret store %q of the manifest hides the one in %s", name, path))
			}
		}
		chain = slices.Insert(chain, 0, s.conf.SecretStores)
	}
	s.conf.SecretStores = chain
	return nil
}
