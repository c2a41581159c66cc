package cache

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The model is the semantics of the package comment for one key, written down as plainly as possible: lists that are walked, and
// nothing shared. Each key has a lock, under which a step is made on the cache and on the model, so the steps of
// different keys meet in the cache while those of one key have an order.

type modelObject struct {
	id                      int
	born, maxAge, swr, sie  int64
	soft, pass, gone, fresh bool
	tag                     string
	rule, variant           string
}

func (o *modelObject) state(now int64) State {
	age := now - o.born
	if age < o.maxAge && !o.soft {
		return Found | Usable
	}
	st := Stale
	if age < o.maxAge+o.swr {
		st |= Found | Usable
	}
	if o.sie > 0 && age < o.maxAge+o.sie {
		st |= Found | UsableIfError
	}
	if st == Stale {
		return 0
	}
	return st
}

type modelFlight struct {
	rule, variant string
	owner         *modelTx
	queue         []*modelTx
}

type modelTx struct {
	tx      *Transaction
	values  [2]string // of the two headers, "" for absent
	waiting bool
	state   State
	found   *modelObject
	past    *modelObject
	pass    bool
	flight  *modelFlight // owned
	woken   bool
	asked   bool // for a wake-up
}

type modelKey struct {
	mu      sync.Mutex
	key     string
	rules   []string
	objects []*modelObject
	flights []*modelFlight
	txs     []*modelTx
	writers map[int]*Writer
}

// variantOf gives the values of the headers that a rule names.
func variantOf(rule string, values [2]string) string {
	out := ""
	for n := range strings.FieldsSeq(rule) {
		out += fmt.Sprintf("%q", values[n[1]-'0'])
	}
	return out
}

func header(values [2]string) Header {
	return func(name string) (string, bool) {
		v := values[name[1]-'0']
		return v, v != ""
	}
}

func (m *modelKey) object(rule, variant string) *modelObject {
	for _, o := range m.objects {
		if o.rule == rule && o.variant == variant {
			return o
		}
	}
	return nil
}

func (m *modelKey) find(values [2]string, now int64) (usable, past *modelObject) {
	for _, r := range m.rules {
		o := m.object(r, variantOf(r, values))
		switch {
		case o == nil || o.pass && o.state(now) != Found|Usable:
		case o.state(now)&Usable != 0:
			return o, nil
		case past == nil:
			past = o
		}
	}
	return nil, past
}

func (m *modelKey) place(t *modelTx, now int64) {
	o, past := m.find(t.values, now)
	t.waiting = false
	if o != nil && o.state(now) == Found|Usable {
		if o.pass {
			t.state, t.pass = MustInsertOrUpdate, true
		} else {
			t.state, t.found = Found|Usable, o
		}
		return
	}
	rule := ""
	if len(m.rules) > 0 {
		rule = m.rules[0]
	}
	var f *modelFlight
	for _, x := range m.flights {
		if x.rule == rule && x.variant == variantOf(rule, t.values) {
			f = x
		}
	}
	if o != nil {
		t.found, t.state = o, o.state(now)
	} else if f != nil {
		t.waiting = true
		f.queue = append(f.queue, t)
		return
	} else if past != nil {
		t.past = past
		if st := past.state(now); st&Found != 0 {
			t.found, t.state = past, st
		}
	}
	if f == nil {
		if !slices.Contains(m.rules, rule) {
			m.rules = append(m.rules, rule)
		}
		t.flight = &modelFlight{rule: rule, variant: variantOf(rule, t.values), owner: t}
		m.flights = append(m.flights, t.flight)
		t.state |= MustInsertOrUpdate
	}
}

// end ends an obligation and lets those who wait look again.
func (m *modelKey) end(t *modelTx, now int64) {
	t.state &^= MustInsertOrUpdate
	f := t.flight
	t.flight = nil
	if f == nil {
		return
	}
	m.flights = slices.DeleteFunc(m.flights, func(x *modelFlight) bool { return x == f })
	queue := f.queue
	f.queue = nil
	for _, x := range queue {
		m.place(x, now)
	}
}

// drop passes an obligation on: the first of those who wait looks again, and the others only if it does not take over.
func (m *modelKey) drop(t *modelTx, now int64) {
	f := t.flight
	if f == nil || len(f.queue) == 0 {
		m.end(t, now)
		return
	}
	rest := f.queue[1:]
	f.queue = f.queue[:1]
	next := f.queue[0]
	m.end(t, now)
	if g := next.flight; g != nil && g.rule == f.rule && g.variant == f.variant {
		g.queue = append(g.queue, rest...)
		return
	}
	for _, x := range rest {
		m.place(x, now)
	}
}

func (m *modelKey) remove(o *modelObject) {
	m.objects = slices.DeleteFunc(m.objects, func(x *modelObject) bool { return x == o })
}

// publish puts an object in its place; those who wait for that place look again.
func (m *modelKey) publish(o *modelObject, now int64, values [2]string) {
	o.variant = variantOf(o.rule, values)
	m.remove(m.object(o.rule, o.variant))
	m.objects = append(m.objects, o)
	m.rules = slices.DeleteFunc(m.rules, func(r string) bool { return r == o.rule })
	m.rules = slices.Insert(m.rules, 0, o.rule)
}

func (m *modelKey) rejoin(rule, variant string, now int64) {
	for _, f := range m.flights {
		if f.rule == rule && f.variant == variant {
			queue := f.queue
			f.queue = nil
			for _, x := range queue {
				m.place(x, now)
			}
		}
	}
}

// tidy forgets rules that nothing is filed under.
func (m *modelKey) tidy() {
	m.rules = slices.DeleteFunc(m.rules, func(r string) bool {
		return !slices.ContainsFunc(m.objects, func(o *modelObject) bool { return o.rule == r }) &&
			!slices.ContainsFunc(m.flights, func(f *modelFlight) bool { return f.rule == r })
	})
}

type modelRun struct {
	t     *testing.T
	sp    *Space
	ck    *clock
	start time.Time
	keys  []*modelKey
	tags  []string
	ids   struct {
		sync.Mutex
		n int
	}
}

func (r *modelRun) now() int64 { return int64(r.ck.Now().Sub(r.start)) }

func (r *modelRun) options(rnd *rand.Rand) (WriteOptions, *modelObject) {
	r.ids.Lock()
	r.ids.n++
	id := r.ids.n
	r.ids.Unlock()
	rules := [][]string{nil, {"h0"}, {"H1"}, {"h1", "h0", "h1"}}
	o := WriteOptions{
		MaxAge: time.Duration(rnd.IntN(4)), StaleWhileRevalidate: time.Duration(rnd.IntN(3)), StaleIfError: time.Duration(rnd.IntN(6)),
		InitialAge: time.Duration(rnd.IntN(2)), Vary: rules[rnd.IntN(len(rules))], UserMetadata: []byte(strconv.Itoa(id)),
	}
	tag := r.tags[rnd.IntN(len(r.tags))]
	o.SurrogateKeys = []string{"all", tag, tag}
	now := r.now()
	x := &modelObject{id: id, born: now - int64(o.InitialAge), maxAge: int64(o.MaxAge), swr: int64(o.StaleWhileRevalidate), sie: int64(o.StaleIfError), tag: tag}
	names, _ := CheckVary(o.Vary)
	x.rule = strings.Join(names, " ")
	return o, x
}

func pick[T any](rnd *rand.Rand, list []T) (x T, ok bool) {
	if len(list) == 0 {
		return x, false
	}
	return list[rnd.IntN(len(list))], true
}

// step makes one random step on a key and compares.
func (r *modelRun) step(rnd *rand.Rand, m *modelKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := r.now()
	values := [2]string{[]string{"", "a", "b"}[rnd.IntN(3)], []string{"", "c"}[rnd.IntN(2)]}
	t, some := pick(rnd, m.txs)
	obliged := some && !t.waiting && t.state&MustInsertOrUpdate != 0
	what := ""
	fulfil := func(err error, w *Writer, x *modelObject) {
		if (err == nil) != obliged {
			r.t.Errorf("%s %s: %v, obliged %v", m.key, what, err, obliged)
			return
		}
		if err != nil {
			return
		}
		if w != nil {
			m.writers[x.id] = w
		}
		if x != nil {
			m.publish(x, now, t.values)
		}
		m.end(t, now)
		if x != nil {
			m.rejoin(x.rule, x.variant, now)
		}
	}
	switch op := rnd.IntN(20); {
	case op < 6 && len(m.txs) < 12:
		what = "begin"
		tx, err := r.sp.Begin([]byte(m.key), header(values))
		if err != nil {
			r.t.Fatal(err)
		}
		x := &modelTx{tx: tx, values: values}
		m.place(x, now)
		m.txs = append(m.txs, x)
	case op == 6:
		what = "insert without a transaction"
		o, x := r.options(rnd)
		w, err := r.sp.Insert([]byte(m.key), header(values), o)
		if err != nil {
			r.t.Fatal(err)
		}
		m.writers[x.id] = w
		m.publish(x, now, values)
		m.rejoin(x.rule, x.variant, now)
	case op == 7:
		what = "purge"
		soft := rnd.IntN(2) == 0
		n := 0
		for _, o := range slices.Clone(m.objects) {
			if soft && !o.soft {
				o.soft = true
				n++
			} else if !soft {
				m.remove(o)
				n++
			}
		}
		if got := r.sp.Count([]byte(m.key), soft); got != n {
			r.t.Errorf("%s: a purge would hit %d, want %d", m.key, got, n)
		}
		if got := r.sp.Purge([]byte(m.key), soft); got != n {
			r.t.Errorf("%s: purged %d, want %d", m.key, got, n)
		}
	case op == 8:
		for id, w := range m.writers {
			if rnd.IntN(2) == 0 {
				what = "close writer"
				if err := w.Close(); err != nil {
					r.t.Errorf("%s %s: %v", m.key, what, err)
				}
			} else {
				what = "abandon"
				w.Abandon()
				for _, o := range slices.Clone(m.objects) {
					if o.id == id && !o.pass {
						m.remove(o)
					}
				}
			}
			delete(m.writers, id)
			break
		}
	case !some:
	case op < 12:
		what = "close"
		t.tx.Close()
		m.txs = slices.DeleteFunc(m.txs, func(x *modelTx) bool { return x == t })
		for _, f := range m.flights {
			f.queue = slices.DeleteFunc(f.queue, func(x *modelTx) bool { return x == t })
		}
		if obliged {
			m.drop(t, now)
		}
	case op == 12:
		what = "cancel"
		err := t.tx.Cancel()
		if (err == nil) != obliged {
			r.t.Errorf("%s cancel: %v", m.key, err)
		}
		if obliged {
			m.drop(t, now)
		}
	case op < 17:
		what = "insert"
		o, x := r.options(rnd)
		w, err := t.tx.Insert(o)
		fulfil(err, w, x)
	case op == 17:
		what = "update"
		o, x := r.options(rnd)
		base := t.found
		if base == nil {
			base = t.past
		}
		obliged = obliged && base != nil
		if base != nil {
			for id, w := range m.writers { // an update of what may yet break is a test of its own
				if id == base.id {
					w.Close()
					delete(m.writers, id)
				}
			}
			if base.gone = !base.fresh && slices.IndexFunc(m.objects, func(y *modelObject) bool { return y == base }) < 0; base.gone && t.tx.Past() != nil && t.tx.Past().o.body.keepable() != nil {
				obliged = false // its writer gave up
			}
		}
		err := t.tx.Update(o)
		if err == nil && base != nil {
			m.remove(base)
		}
		fulfil(err, nil, x)
	case op == 18:
		what = "uncacheable"
		o, x := r.options(rnd)
		x.pass, x.born, x.swr, x.sie = true, now, 0, 0
		err := t.tx.RecordUncacheable(o)
		if o.MaxAge > 0 {
			fulfil(err, nil, x)
		} else if obliged {
			if t.flight != nil {
				for _, y := range t.flight.queue {
					y.waiting, y.state, y.pass = false, MustInsertOrUpdate, true
				}
				t.flight.queue = nil
			}
			fulfil(err, nil, nil)
		}
	case op == 19:
		what = "choose stale"
		err := t.tx.ChooseStale()
		obliged = obliged && t.state&(Usable|UsableIfError) != 0
		if (err == nil) != obliged {
			r.t.Errorf("%s choose stale: %v", m.key, err)
		}
		if err == nil {
			t.state |= Usable
			if f := t.flight; f != nil {
				f.queue = slices.DeleteFunc(f.queue, func(x *modelTx) bool {
					o, past := m.find(x.values, now)
					if o != nil || past == nil || past.state(now)&UsableIfError == 0 {
						return false
					}
					x.waiting, x.found, x.state = false, past, past.state(now)|Usable
					return true
				})
			}
			m.end(t, now)
		}
	}
	m.tidy()
	r.compare(rnd, m, what, now)
}

func (r *modelRun) compare(rnd *rand.Rand, m *modelKey, what string, now int64) {
	for i, t := range m.txs {
		var ready bool
		if rnd.IntN(2) == 0 {
			ready = t.tx.Ready(nil)
		} else {
			ready = t.tx.Ready(func() { t.woken = true })
			t.asked = t.asked || !ready
		}
		id, modelID := "none", "none"
		if e := t.tx.Entry(); e != nil {
			id = string(e.UserMetadata())
		}
		if t.found != nil {
			modelID = strconv.Itoa(t.found.id)
		}
		if ready == t.waiting || t.tx.State() != t.state || id != modelID || t.tx.Pass() != t.pass {
			r.t.Errorf("%s after %s: transaction %d of %q is ready %v, %s, %s, pass %v; want ready %v, %s, %s, pass %v",
				m.key, what, i, t.values, ready, t.tx.State(), id, t.tx.Pass(), !t.waiting, t.state, modelID, t.pass)
			r.t.FailNow()
		}
	}
	for _, a := range []string{"", "a", "b"} {
		values := [2]string{a, "c"}
		e := r.sp.Lookup([]byte(m.key), header(values))
		o, _ := m.find(values, now)
		switch {
		case o == nil || o.pass:
			if e != nil {
				r.t.Errorf("%s after %s: lookup found %s, want nothing", m.key, what, e.UserMetadata())
			}
		case e == nil:
			r.t.Errorf("%s after %s: lookup found nothing, want %d", m.key, what, o.id)
		case string(e.UserMetadata()) != strconv.Itoa(o.id) || e.State() != o.state(now):
			r.t.Errorf("%s after %s: lookup found %s %s, want %d %s", m.key, what, e.UserMetadata(), e.State(), o.id, o.state(now))
		}
	}
	owners := map[[2]string]int{}
	for _, f := range m.flights {
		owners[[2]string{f.rule, f.variant}]++
		if owners[[2]string{f.rule, f.variant}] > 1 {
			r.t.Errorf("%s after %s: two obligations for one variant", m.key, what)
		}
	}
	if r.t.Failed() {
		r.t.FailNow()
	}
}

// all makes a step that concerns all keys.
func (r *modelRun) all(rnd *rand.Rand) {
	for _, m := range r.keys {
		m.mu.Lock()
		defer m.mu.Unlock()
	}
	if rnd.IntN(3) > 0 {
		r.ck.add(time.Duration(1 + rnd.IntN(2)))
		return
	}
	tag, _ := pick(rnd, append([]string{"all", "everything"}, r.tags...))
	soft := rnd.IntN(2) == 0
	want := 0
	for _, m := range r.keys {
		for _, o := range slices.Clone(m.objects) {
			if tag != "all" && tag != "everything" && o.tag != tag || soft && o.soft {
				continue
			}
			want++
			if o.soft = soft; !soft {
				m.remove(o)
			}
		}
		m.tidy()
	}
	var got int
	if tag == "everything" {
		got = r.sp.PurgeAll(soft)
	} else {
		if n := r.sp.CountKey(tag, soft); n != want {
			r.t.Errorf("a purge of %q would hit %d, want %d", tag, n, want)
		}
		got = r.sp.PurgeKey(tag, soft)
	}
	if got != want {
		r.t.Errorf("purge of %q hit %d, want %d", tag, got, want)
	}
}

// lasting gives how long a random test runs: short, or as the environment says.
func lasting(t testing.TB) time.Duration {
	if s := os.Getenv("CACHE_TEST_DURATION"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatalf("CACHE_TEST_DURATION: %v", err)
		}
		return d
	}
	return 500 * time.Millisecond
}

func TestRandomTransactionsFollowTheModel(t *testing.T) {
	end := time.Now().Add(lasting(t))
	for seed := uint64(time.Now().UnixNano()); time.Now().Before(end) && !t.Failed(); seed++ {
		runModel(t, seed)
	}
}

func runModel(t *testing.T, seed uint64) {
	sp, ck := open(t, Options{})
	r := &modelRun{t: t, sp: sp, ck: ck, start: ck.Now(), tags: []string{"x", "y", "z"}}
	for i := range 6 {
		r.keys = append(r.keys, &modelKey{key: fmt.Sprint("key", i), writers: map[int]*Writer{}})
	}
	var wg sync.WaitGroup
	for g := range uint64(4) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rnd := rand.New(rand.NewPCG(seed, g))
			for range 500 {
				if rnd.IntN(10) == 0 {
					r.all(rnd)
				} else {
					m, _ := pick(rnd, r.keys)
					r.step(rnd, m)
				}
			}
		}()
	}
	wg.Wait()
	if t.Failed() {
		t.Logf("seed %d", seed)
		return
	}
	objects, waiting := 0, 0
	for _, m := range r.keys {
		objects += len(m.objects)
		for _, x := range m.txs {
			if x.waiting {
				waiting++
			} else if x.asked && !x.woken {
				t.Errorf("a wake-up was lost (seed %d)", seed)
			}
		}
	}
	if st := sp.Stats(); st.Objects != int64(objects) || st.Waiting != int64(waiting) {
		t.Errorf("%+v, want %d objects and %d waiting (seed %d)", st, objects, waiting, seed)
	}
	for _, m := range r.keys {
		for _, x := range m.txs {
			x.tx.Close()
		}
		for _, w := range m.writers {
			w.Abandon()
		}
	}
	if st := sp.Stats(); st.Waiting != 0 {
		t.Errorf("%d still wait (seed %d)", st.Waiting, seed)
	}
	sp.PurgeAll(false)
	if st := sp.Stats(); st.Objects != 0 || st.Bytes != 0 {
		t.Errorf("after the purge: %+v (seed %d)", st, seed)
	}
	for i := range sp.shard {
		if n := len(sp.shard[i].slots); n != 0 {
			t.Errorf("%d keys are left without anything in them (seed %d)", n, seed)
		}
	}
}
