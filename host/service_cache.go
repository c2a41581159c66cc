package host

import (
	"strconv"
	"sync/atomic"

	"github.com/edgewasm/wasmedge/host/cache"
	"github.com/edgewasm/wasmedge/host/cache/httpcache"
	"github.com/edgewasm/wasmedge/host/readthrough"
)

// nameless numbers the services without an ID.
var nameless atomic.Uint64

// openCache gives the service its space of the host's cache. All that have the same ID share one, so that the next version of a program
// finds what the one before has cached.
func (s *Service) openCache() {
	name := s.cfg.ID
	if name == "" {
		name = "#" + strconv.FormatUint(nameless.Add(1), 10)
	}
	s.space = s.host.objects.Space(name, cache.SpaceOptions{})
	if !s.cfg.NoReadThrough {
		s.through = readthrough.New(s.space, readthrough.Options{Policy: httpcache.Policy{Fastly: s.cfg.FastlyCache}})
		s.env.ReadThrough = s.through
	}
}

// closeCache ends what goes on in the background. What a service with an ID has cached stays.
func (s *Service) closeCache() {
	if s.through != nil {
		s.through.Close()
	}
	if s.space != nil && s.cfg.ID == "" {
		s.space.Close()
	}
}
