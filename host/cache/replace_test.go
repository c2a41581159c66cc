package cache

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

func replace(t testing.TB, sp *Space, key string, s Strategy) *Transaction {
	t.Helper()
	tx, err := sp.BeginReplace([]byte(key), nil, s)
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

func insert(t testing.TB, tx *Transaction, body string) {
	t.Helper()
	w, err := tx.Insert(WriteOptions{MaxAge: time.Minute})
	finish(t, w, err, body)
}

func TestAnImmediateReplacementLeavesTheObjectInPlaceUntilItInserts(t *testing.T) {
	sp, _ := open(t, Options{})
	put(t, sp, "k", "old", nil, WriteOptions{MaxAge: time.Minute})
	r := replace(t, sp, "k", Immediate)
	want(t, r, "found usable must", "old")
	want(t, begin(t, sp, "k", nil), "found usable", "old")
	insert(t, r, "new")
	want(t, begin(t, sp, "k", nil), "found usable", "new")
	if text(r.Entry()) != "old" {
		t.Error("the replacement lost the object that it found")
	}
	if _, err := r.Insert(WriteOptions{}); !errors.Is(err, ErrNoObligation) {
		t.Errorf("a second insert gave %v", err)
	}
}

func TestAnImmediateReplacementOfWhatIsBeingFetchedDoesNotWait(t *testing.T) {
	sp, _ := open(t, Options{})
	owner, waiter := begin(t, sp, "k", nil), begin(t, sp, "k", nil)
	for _, s := range []Strategy{Immediate, ForceMiss} {
		r := replace(t, sp, "k", s)
		want(t, r, "must", none)
		r.Close() // gives up nothing of the owner's
		want(t, waiter, "waiting", "")
	}
	insert(t, replace(t, sp, "k", ForceMiss), "new")
	want(t, waiter, "found usable", "new")
	insert(t, owner, "newer")
	want(t, begin(t, sp, "k", nil), "found usable", "newer")
}

func TestAReplacementThatForcesAMissMakesOthersWait(t *testing.T) {
	for name, end := range map[string]struct {
		do   func(*Transaction)
		want string
		body string
	}{
		"until it inserts":     {func(r *Transaction) { insert(t, r, "new") }, "found usable", "new"},
		"or until it gives up": {(*Transaction).Close, "must", none},
	} {
		t.Run(name, func(t *testing.T) {
			sp, _ := open(t, Options{})
			put(t, sp, "k", "plain", nil, WriteOptions{MaxAge: time.Minute})
			put(t, sp, "k", "varied", nil, WriteOptions{MaxAge: time.Minute, Vary: []string{"a"}})
			r := replace(t, sp, "k", ForceMiss)
			want(t, r, "found usable must", "varied")
			later := begin(t, sp, "k", nil)
			want(t, later, "waiting", "")
			if sp.Lookup([]byte("k"), nil) != nil {
				t.Error("an object is still found")
			}
			end.do(r)
			want(t, later, end.want, end.body)
			later.Close()
		})
	}
}

func TestReplacementsInTurnEachFindWhatTheOneBeforeInserted(t *testing.T) {
	sp, _ := open(t, Options{})
	var queue []*Transaction
	for range 4 {
		queue = append(queue, replace(t, sp, "count", InTurn))
	}
	reader := begin(t, sp, "count", nil)
	want(t, queue[0], "must", none)
	insert(t, queue[0], "1")
	want(t, reader, "found usable", "1")
	for i := 1; i < 4; i++ {
		for _, later := range queue[i+1:] {
			want(t, later, "waiting", "")
		}
		want(t, queue[i], "found usable must", fmt.Sprint(i))
		if i == 2 {
			queue[i].Close()
			want(t, queue[3], "found usable must", "2")
			insert(t, queue[3], "3")
			break
		}
		insert(t, queue[i], fmt.Sprint(i+1))
	}
	want(t, begin(t, sp, "count", nil), "found usable", "3")
}

func TestAReplacementInTurnWaitsForATransaction(t *testing.T) {
	sp, ck := open(t, Options{})
	put(t, sp, "k", "old", nil, WriteOptions{MaxAge: time.Minute, StaleWhileRevalidate: time.Hour})
	ck.add(2 * time.Minute)
	owner := begin(t, sp, "k", nil)
	want(t, owner, "found usable stale must", "old")
	r := replace(t, sp, "k", InTurn)
	want(t, r, "waiting", "")
	want(t, begin(t, sp, "k", nil), "found usable stale", "old")
	if err := owner.Update(WriteOptions{MaxAge: time.Minute, InitialAge: 0}); err != nil {
		t.Fatal(err)
	}
	want(t, r, "found usable must", "old")
	want(t, begin(t, sp, "k", nil), "found usable", "old")
	r.Close()
}

func TestAReplacementInAClosedSpaceGoesOnByItself(t *testing.T) {
	sp, _ := open(t, Options{})
	owner := replace(t, sp, "k", InTurn)
	second := replace(t, sp, "k", InTurn)
	sp.Close()
	for _, tx := range []*Transaction{owner, second, replace(t, sp, "k", InTurn), replace(t, sp, "k", ForceMiss)} {
		want(t, tx, "must", none)
		if _, err := tx.Insert(WriteOptions{}); !errors.Is(err, ErrClosed) {
			t.Errorf("insert gave %v", err)
		}
		tx.Close()
	}
}
