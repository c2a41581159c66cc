package device

import (
	"sync"
	"sync/atomic"

	"github.com/maypok86/otter/v2"
	"github.com/ua-parser/uap-go/uaparser"
)

// MaxUserAgent is the length in bytes from which on a text is not looked at. The longest of real programs, those
// that carry another's advertisement, have about half of it.
const MaxUserAgent = 1024

// maxCache bounds the memory of kept answers, in bytes.
const maxCache = 8 << 20

// Agent is the program that a User-Agent text names, by ua-parser's names: the family is "Other" when it is not known, and a part
// of the version that is not known is empty.
type Agent struct{ Family, Major, Minor, Patch string }

// answer is what is kept of a text. It is not written to.
type answer struct {
	agent  Agent
	record string // empty: nothing is known
}

// Detector answers from the expressions. The zero value is ready.
type Detector struct {
	once   sync.Once
	loaded atomic.Pointer[loaded]
}

type loaded struct {
	matcher *matcher
	cache   *otter.Cache[string, *answer]
}

// Ready reports whether questions are answered without loading the expressions first.
func (d *Detector) Ready() bool { return d.loaded.Load() != nil }

// Lookup gives the record of a text as JSON; false when nothing is known of it.
func (d *Detector) Lookup(userAgent string) (record string, ok bool) {
	a := d.answer(userAgent)
	return a.record, a.record != ""
}

// Parse gives the program that a text names.
func (d *Detector) Parse(userAgent string) Agent { return d.answer(userAgent).agent }

var nobody = &answer{agent: Agent{Family: other}}

func (d *Detector) answer(userAgent string) *answer {
	if userAgent == "" || len(userAgent) > MaxUserAgent {
		return nobody
	}
	l := d.load()
	if a, ok := l.cache.GetIfPresent(userAgent); ok {
		return a
	}
	a := l.matcher.answer(userAgent)
	l.cache.Set(userAgent, a)
	return a
}

// load loads the expressions if that has not happened; whoever comes meanwhile waits.
func (d *Detector) load() *loaded {
	if l := d.loaded.Load(); l != nil {
		return l
	}
	d.once.Do(func() {
		d.loaded.Store(&loaded{
			matcher: sharedMatcher(),
			cache: otter.Must(&otter.Options[string, *answer]{
				MaximumWeight: maxCache,
				Weigher:       weight,
			}),
		})
	})
	return d.loaded.Load()
}

// weight is about what an entry takes, with what the cache itself keeps for it.
func weight(userAgent string, a *answer) uint32 {
	// The parts of agent are cut from a text of their own each.
	return uint32(len(userAgent) + len(a.record) + len(a.agent.Family) + 300)
}

// sharedMatcher is the process's only one: it takes 12 MB and does not change.
var sharedMatcher = sync.OnceValue(func() *matcher {
	// The library's own caches stand behind a lock and are not used.
	p, err := uaparser.New(uaparser.WithCacheSize(1))
	if err != nil {
		panic(err) // only what is compiled in can be wrong, and a test would have shown it
	}
	return newMatcher(p)
})
