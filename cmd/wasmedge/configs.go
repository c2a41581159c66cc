package main

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/edgewasm/wasmedge/configstore"
	configbolt "github.com/edgewasm/wasmedge/configstore/bolt"
)

// configFile is where a data directory has its config stores.
const configFile = "config.db"

// openConfig gives the program the config stores of the data directory, as they are and as they become. A store of the
// manifest's hides one of the same name.
func (s *session) openConfig(dir string) (err error) {
	if dir == "" {
		return nil
	}
	if s.conf.ConfigStores == nil {
		s.conf.ConfigStores = new(configstore.Set)
	}
	own := s.conf.ConfigStores.Names()
	mirror := configstore.NewMirror(s.conf.ConfigStores, configstore.Limits{}, func(name string) bool { return slices.Contains(own, name) })
	path := filepath.Join(dir, configFile)
	s.config, err = configbolt.New(path, configstore.Limits{}).Follow(mirror, func(err error) { s.log.Warn(fmt.Sprintf("config stores: %v", err)) })
	return err
}
