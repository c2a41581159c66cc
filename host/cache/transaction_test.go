package cache

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const none = "<none>"

func TestTheFirstToMissIsObligedAndTheOthersWait(t *testing.T) {
	sp, _ := open(t, Options{})
	a, b, c := begin(t, sp, "k", nil), begin(t, sp, "k", nil), begin(t, sp, "k", nil)
	want(t, a, "must", none)
	want(t, b, "waiting", "")
	want(t, c, "waiting", "")
	woken := 0
	if b.Ready(func() { woken++ }) || c.Ready(func() { woken++ }) {
		t.Fatal("ready too soon")
	}
	w, err := a.Insert(WriteOptions{MaxAge: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if woken != 2 {
		t.Errorf("%d of 2 were woken by the insert", woken)
	}
	if a.State() != 0 {
		t.Errorf("the obligation is done, but the state is %s", a.State())
	}
	if b.State() != Found|Usable || c.State() != Found|Usable {
		t.Errorf("states %s and %s", b.State(), c.State())
	}
	if _, known := b.Entry().Length(); known {
		t.Error("the length is known before the end")
	}
	finish(t, w, nil, "body")
	want(t, b, "found usable", "body")
	want(t, c, "found usable", "body")
	if n := b.Entry().Hits(); n != 2 {
		t.Errorf("%d hits, want 2", n)
	}
	st := sp.Stats()
	if st.Collapsed != 2 || st.Hits != 2 || st.Misses != 1 || st.Waiting != 0 || st.Objects != 1 {
		t.Errorf("%+v", st)
	}
}

func TestAnObligationThatIsDroppedGoesToTheNextInOrder(t *testing.T) {
	for name, drop := range map[string]func(*Transaction){
		"by Close":  (*Transaction).Close,
		"by Cancel": func(tx *Transaction) { tx.Cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			sp, _ := open(t, Options{})
			var txs []*Transaction
			for range 5 {
				txs = append(txs, begin(t, sp, "k", nil))
			}
			txs[2].Close() // waits no more
			drop(txs[0])
			want(t, txs[1], "must", none)
			want(t, txs[3], "waiting", "")
			drop(txs[1])
			want(t, txs[3], "must", none)
			want(t, txs[4], "waiting", "")
			drop(txs[3])
			want(t, txs[4], "must", none)
			drop(txs[4])
			if len(sp.at(sp.hash([]byte("k"))).slots) != 0 {
				t.Error("the key is still in the table")
			}
			want(t, begin(t, sp, "k", nil), "must", none)
		})
	}
}

func TestFreshnessDecidesWhoGetsWhat(t *testing.T) {
	o := WriteOptions{MaxAge: 10 * time.Second, InitialAge: 2 * time.Second, StaleWhileRevalidate: 10 * time.Second, StaleIfError: 30 * time.Second}
	for _, tt := range []struct {
		name          string
		after         time.Duration
		soft          bool
		lookup        string
		first, second string
		second2       string
	}{
		{"fresh just before its age is MaxAge", 8*time.Second - 1, false, "old", "found usable", "found usable", "old"},
		{"stale at MaxAge", 8 * time.Second, false, "old", "found usable stale must if-error", "found usable stale if-error", "old"},
		{"usable just before the end of the window", 18*time.Second - 1, false, "old", "found usable stale must if-error", "found usable stale if-error", "old"},
		{"usable if error after it", 18 * time.Second, false, none, "found stale must if-error", "waiting", ""},
		{"not usable at all after that", 38 * time.Second, false, none, "must", "waiting", ""},
		{"softly purged while fresh", 0, true, "old", "found usable stale must if-error", "found usable stale if-error", "old"},
		{"softly purged and too old", 18 * time.Second, true, none, "found stale must if-error", "waiting", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sp, ck := open(t, Options{})
			put(t, sp, "k", "old", nil, o)
			ck.add(tt.after)
			if tt.soft && sp.Purge([]byte("k"), true) != 1 {
				t.Error("the purge hit nothing")
			}
			if got := text(sp.Lookup([]byte("k"), nil)); got != tt.lookup {
				t.Errorf("lookup: %q, want %q", got, tt.lookup)
			}
			a, b := begin(t, sp, "k", nil), begin(t, sp, "k", nil)
			body := none
			if a.State()&Found != 0 {
				body = "old"
			}
			want(t, a, tt.first, body)
			want(t, b, tt.second, tt.second2)
			if a.State()&MustInsertOrUpdate == 0 {
				return
			}
			if a.Past() == nil {
				t.Fatal("there is nothing to update")
			}
			if err := a.Update(WriteOptions{MaxAge: time.Minute, UserMetadata: []byte("new")}); err != nil {
				t.Fatal(err)
			}
			c := begin(t, sp, "k", nil)
			want(t, c, "found usable", "old")
			if string(c.Entry().UserMetadata()) != "new" || c.Entry().Age() != 0 || c.Entry().MaxAge() != time.Minute {
				t.Error("the update did not renew the object")
			}
			if tt.second == "waiting" {
				want(t, b, "found usable", "old")
			}
		})
	}
}

func TestAnUpdateThatFailsKeepsTheObligation(t *testing.T) {
	sp, _ := open(t, Options{})
	tx := begin(t, sp, "k", nil)
	if err := tx.Update(WriteOptions{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("update of nothing: %v", err)
	}
	if _, err := tx.Insert(WriteOptions{MaxAge: -1}); !errors.Is(err, ErrOptions) {
		t.Errorf("insert of nonsense: %v", err)
	}
	want(t, tx, "must", none)
	w, err := tx.Insert(WriteOptions{MaxAge: 1})
	finish(t, w, err, "x")
	if _, err := tx.Insert(WriteOptions{}); !errors.Is(err, ErrNoObligation) {
		t.Errorf("second insert: %v", err)
	}
	if err := tx.Cancel(); !errors.Is(err, ErrNoObligation) {
		t.Errorf("cancel after insert: %v", err)
	}
	tx.Close()
	tx.Close()
}

func TestWaitersOfOtherVariantsGoOnInOrder(t *testing.T) {
	sp, _ := open(t, Options{})
	de, en := headers("accept-language", "de"), headers("accept-language", "en")
	a, b, c, d := begin(t, sp, "k", de), begin(t, sp, "k", en), begin(t, sp, "k", de), begin(t, sp, "k", en)
	w, err := a.Insert(WriteOptions{MaxAge: time.Minute, Vary: []string{"Accept-Language"}})
	finish(t, w, err, "deutsch")
	want(t, b, "must", none)
	want(t, c, "found usable", "deutsch")
	want(t, d, "waiting", "")
	// Now the rule is known, so another language does not wait.
	e := begin(t, sp, "k", headers("accept-language", "fr"))
	want(t, e, "must", none)
	w, err = b.Insert(WriteOptions{MaxAge: time.Minute, Vary: []string{"accept-language", "ACCEPT-LANGUAGE"}})
	finish(t, w, err, "english")
	want(t, d, "found usable", "english")
}

func TestUncacheableLetsEveryoneGoOn(t *testing.T) {
	for _, maxAge := range []time.Duration{0, time.Minute} {
		sp, ck := open(t, Options{})
		a, b, c := begin(t, sp, "k", nil), begin(t, sp, "k", nil), begin(t, sp, "k", nil)
		if err := a.RecordUncacheable(WriteOptions{MaxAge: maxAge}); err != nil {
			t.Fatal(err)
		}
		want(t, b, "must", none)
		want(t, c, "must", none)
		if !b.Pass() || !c.Pass() {
			t.Error("they do not know that nobody waits for them")
		}
		b.Close()
		c.Close()
		if sp.Lookup([]byte("k"), nil) != nil {
			t.Error("the note is found as an object")
		}
		d, e := begin(t, sp, "k", nil), begin(t, sp, "k", nil)
		if (e.State() == MustInsertOrUpdate) != (maxAge > 0) {
			t.Errorf("max age %s: the second to come afterwards has %s", maxAge, e.State())
		}
		d.Close()
		e.Close()
		ck.add(maxAge)
		d, e = begin(t, sp, "k", nil), begin(t, sp, "k", nil)
		want(t, d, "must", none)
		want(t, e, "waiting", "")
	}
}

func TestChoosingTheStaleObjectServesThoseWhoWait(t *testing.T) {
	sp, ck := open(t, Options{})
	put(t, sp, "k", "old", nil, WriteOptions{MaxAge: time.Second, StaleIfError: time.Minute})
	ck.add(2 * time.Second)
	a, b, c := begin(t, sp, "k", nil), begin(t, sp, "k", nil), begin(t, sp, "k", nil)
	want(t, a, "found stale must if-error", "old")
	if err := a.ChooseStale(); err != nil {
		t.Fatal(err)
	}
	want(t, a, "found usable stale if-error", "old")
	want(t, b, "found usable stale if-error", "old")
	want(t, c, "found usable stale if-error", "old")
	want(t, begin(t, sp, "k", nil), "found stale must if-error", "old")
	fresh := begin(t, sp, "other", nil)
	if err := fresh.ChooseStale(); !errors.Is(err, ErrNotFound) {
		t.Errorf("there is nothing stale to choose: %v", err)
	}
}

func TestAThousandConcurrentMissesCollapseIntoOne(t *testing.T) {
	sp, _ := open(t, Options{})
	before := runtime.NumGoroutine()
	var fetches atomic.Int32
	var wg sync.WaitGroup
	start := make(chan struct{})
	for range 1000 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			<-start
			tx, err := sp.Begin([]byte("k"), nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer tx.Close()
			if err := tx.Wait(context.Background()); err != nil {
				t.Error(err)
				return
			}
			e := tx.Entry()
			if tx.State()&MustInsertOrUpdate != 0 {
				fetches.Add(1)
				time.Sleep(5 * time.Millisecond)
				var w *Writer
				if w, e, err = tx.InsertAndStreamBack(WriteOptions{MaxAge: time.Minute}); err != nil {
					t.Error(err)
					return
				}
				io.WriteString(w, "one")
				w.Close()
			}
			if got := text(e); got != "one" {
				t.Errorf("got %q", got)
			}
		}()
	}
	close(start)
	wg.Wait()
	if n := fetches.Load(); n != 1 {
		t.Errorf("%d transactions were obliged", n)
	}
	for range 100 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("%d goroutines before, %d after", before, runtime.NumGoroutine())
}

func TestWaitEndsWithItsContextOrWithClose(t *testing.T) {
	sp, _ := open(t, Options{})
	a, b := begin(t, sp, "k", nil), begin(t, sp, "k", nil)
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("why")
	cancel(why)
	if err := b.Wait(ctx); err != why {
		t.Errorf("got %v", err)
	}
	ended := make(chan error)
	go func() { ended <- b.Wait(context.Background()) }()
	time.Sleep(time.Millisecond)
	b.Close()
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
	a.Close()
}

func TestASpaceThatClosesLetsWaitersGo(t *testing.T) {
	sp, _ := open(t, Options{})
	a, b := begin(t, sp, "k", nil), begin(t, sp, "k", nil)
	sp.Close()
	want(t, b, "must", none)
	for _, tx := range []*Transaction{a, b} {
		if _, err := tx.Insert(WriteOptions{MaxAge: 1}); !errors.Is(err, ErrClosed) {
			t.Errorf("insert: %v", err)
		}
		tx.Close()
	}
	if _, err := sp.Insert([]byte("k"), nil, WriteOptions{}); !errors.Is(err, ErrClosed) {
		t.Errorf("insert: %v", err)
	}
	if sp.c.Space("test", SpaceOptions{}) == sp {
		t.Error("the name is not free")
	}
}
