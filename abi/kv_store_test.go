package abi

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/kvstore"
	"github.com/edgewasm/wasmedge/kvstore/memory"
)

// kvStores gives guests the stores of a driver.
type kvStores struct{ kvstore.Stores }

func (k kvStores) OpenKVStore(ctx context.Context, name string) (kvstore.Store, error) {
	return k.Open(ctx, name)
}

// remoteStores makes a driver's stores ones that are waited for.
type remoteStores struct {
	kvstore.Stores
	gate chan struct{} // operations go on once it is closed
	err  error         // that they fail with
}

func (r *remoteStores) OpenKVStore(ctx context.Context, name string) (kvstore.Store, error) {
	s, err := r.Open(ctx, name)
	return &remoteStore{s, r}, err
}

type remoteStore struct {
	store kvstore.Store
	all   *remoteStores
}

func (r *remoteStore) wait(ctx context.Context) error {
	select {
	case <-r.all.gate:
		return r.all.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *remoteStore) Lookup(ctx context.Context, key string) (kvstore.Value, error) {
	if err := r.wait(ctx); err != nil {
		return kvstore.Value{}, err
	}
	v, err := r.store.Lookup(ctx, key)
	if err == nil {
		v.Body = kvstore.StreamBody(io.NopCloser(v.Body), v.Body.Size())
	}
	return v, err
}

func (r *remoteStore) Insert(ctx context.Context, key string, value io.Reader, o kvstore.InsertOptions) (uint64, error) {
	if err := r.wait(ctx); err != nil {
		return 0, err
	}
	return r.store.Insert(ctx, key, value, o)
}

func (r *remoteStore) Delete(ctx context.Context, key string, o kvstore.DeleteOptions) error {
	if err := r.wait(ctx); err != nil {
		return err
	}
	return r.store.Delete(ctx, key, o)
}

func (r *remoteStore) List(ctx context.Context, o kvstore.ListOptions) (kvstore.Page, error) {
	if err := r.wait(ctx); err != nil {
		return kvstore.Page{}, err
	}
	return r.store.List(ctx, o)
}

func (r *remoteStore) Stat(ctx context.Context) (kvstore.Stat, error) { return r.store.Stat(ctx) }

// Outputs and structs of the KV calls.
const (
	outHandle     = 0x200
	outGeneration = 0x208
	outOutcome    = 0x210
	outLength     = 0x214
	config        = 0x300
	textMetadata  = 0x3000
)

// newStores makes a memory driver with the store "shop" in it.
func newStores(t testing.TB) *memory.Stores {
	stores := memory.New(memory.Options{})
	t.Cleanup(func() { stores.Close() })
	if _, err := stores.Create(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	return stores
}

// kvGuest is a guest that has the store "shop" open.
func kvGuest(t testing.TB, stores KVStores) (g *guest, store uint32) {
	g = newGuest(t, nil)
	g.sandbox.env.KVStores = stores
	g.sandbox.env.KVUse = new(KVUse)
	t.Cleanup(func() {
		if g.sandbox.env != nil {
			g.sandbox.Finish()
		}
	})
	return g, g.openKV()
}

func (g *guest) openKV() uint32 {
	g.t.Helper()
	p, n := g.put(textA, "shop")
	g.ok("kv_store.open", p, n, outHandle)
	return g.u32(outHandle)
}

// insertConfig writes kv_insert_config.
func (g *guest) insertConfig(mode uint32, metadata string, ttl uint32, generation uint64) {
	p, n := g.put(textMetadata, metadata)
	b := g.mem[config:]
	for i, v := range []uint32{mode, 0xdeadbeef, p, n, ttl, 0xdeadbeef} {
		binary.LittleEndian.PutUint32(b[4*i:], v)
	}
	binary.LittleEndian.PutUint64(b[24:], generation)
}

// insert stores a value and gives the outcome.
func (g *guest) insert(store uint32, key, value string, mask uint32) kvError {
	g.t.Helper()
	body := g.newBody()
	g.write(body, value)
	p, n := g.put(textB, key)
	g.ok("kv_store.insert", store, p, n, body, mask, config, outHandle)
	g.ok("kv_store.insert_wait", g.u32(outHandle), outOutcome)
	return kvError(g.u32(outOutcome))
}

// lookup gives a key's value and metadata.
func (g *guest) lookup(store uint32, key string) (value, metadata string, generation uint64, outcome kvError) {
	g.t.Helper()
	p, n := g.put(textB, key)
	g.ok("kv_store.lookup", store, p, n, 0, 0, outHandle)
	g.ok("kv_store.lookup_wait_v2", g.u32(outHandle), outA, room, 2000, outLength, outGeneration, outOutcome)
	metadata = g.str(room, g.u32(outLength))
	generation, outcome = g.u64(outGeneration), kvError(g.u32(outOutcome))
	if outcome != kvOK {
		if g.u32(outA) != InvalidHandle {
			g.t.Errorf("a failed lookup gave body %d", g.u32(outA))
		}
		return "", metadata, generation, outcome
	}
	body := g.u32(outA)
	for {
		piece := g.read(body, 1000)
		if piece == "" {
			break
		}
		value += piece
	}
	g.ok("http_body.close", body)
	return value, metadata, generation, outcome
}

// eachKind runs a test on stores that answer at once and on ones that are waited for.
func eachKind(t *testing.T, test func(t *testing.T, g *guest, store uint32)) {
	t.Run("prompt", func(t *testing.T) {
		g, store := kvGuest(t, kvStores{newStores(t)})
		if s, _ := g.sandbox.kvStores.get(store); !s.promptLookup || !s.promptWrite {
			t.Fatal("the memory driver says that it is not prompt")
		}
		test(t, g, store)
	})
	t.Run("remote", func(t *testing.T) {
		open := make(chan struct{})
		close(open)
		g, store := kvGuest(t, &remoteStores{Stores: newStores(t), gate: open})
		test(t, g, store)
	})
}

func TestKVInsertModesAndConditions(t *testing.T) {
	eachKind(t, func(t *testing.T, g *guest, store uint32) {
		if _, _, _, outcome := g.lookup(store, "k"); outcome != kvNotFound {
			t.Errorf("missing key: %d", outcome)
		}
		var last uint64
		for _, step := range []struct {
			name     string
			mode     kvstore.InsertMode
			value    string
			metadata string
			mask     uint32
			current  bool // the condition holds
			want     kvError
			result   string
		}{
			{"add a new key", kvstore.Add, "b", "", 0, false, kvOK, "b"},
			{"add it again", kvstore.Add, "x", "", 0, false, kvPreconditionFailed, "b"},
			{"append", kvstore.Append, "c", "", 0, false, kvOK, "bc"},
			{"prepend", kvstore.Prepend, "a", "", 0, false, kvOK, "abc"},
			{"metadata", kvstore.Overwrite, "v", "of m", kvInsertMetadata, false, kvOK, "v"},
			{"background fetch and reserved bits", kvstore.Overwrite, "w", "", kvReserved | kvInsertReserved | kvInsertBackgroundFetch, false, kvOK, "w"},
			{"the generation is another", kvstore.Overwrite, "x", "", kvInsertIfGeneration, false, kvPreconditionFailed, "w"},
			{"the generation is this", kvstore.Overwrite, "y", "m", kvInsertIfGeneration | kvInsertMetadata, true, kvOK, "y"},
			{"time to live", kvstore.Overwrite, "z", "", kvInsertTTL, false, kvOK, "z"},
			{"empty", kvstore.Overwrite, "", "", 0, false, kvOK, ""},
		} {
			generation := last
			if !step.current {
				generation = 7
			}
			g.insertConfig(uint32(step.mode), step.metadata, 3600, generation)
			if got := g.insert(store, "k", step.value, step.mask); got != step.want {
				t.Errorf("%s: %d, want %d", step.name, got, step.want)
			}
			value, metadata, now, outcome := g.lookup(store, "k")
			if value != step.result || outcome != kvOK || step.want == kvOK && metadata != step.metadata {
				t.Errorf("%s: then it is %q with %q, %d", step.name, value, metadata, outcome)
			}
			if (now > last) != (step.want == kvOK) {
				t.Errorf("%s: generation %d after %d", step.name, now, last)
			}
			last = now
		}

		// The old lookup_wait tells no generation.
		p, n := g.put(textB, "k")
		g.ok("kv_store.lookup", store, p, n, kvReserved, 0, outHandle)
		g.ok("kv_store.lookup_wait", g.u32(outHandle), outA, room, 2000, outLength, outGeneration, outOutcome)
		if g.u32(outGeneration) != 0 || g.u32(outGeneration+4) != uint32(last>>32) || kvError(g.u32(outOutcome)) != kvOK {
			t.Errorf("lookup_wait: generation %#x, outcome %d", g.u64(outGeneration), g.u32(outOutcome))
		}

		for _, want := range []kvError{kvOK, kvNotFound} {
			p, n = g.put(textB, "k")
			g.ok("kv_store.delete", store, p, n, 0, 0, outHandle)
			g.ok("kv_store.delete_wait", g.u32(outHandle), outOutcome)
			if got := kvError(g.u32(outOutcome)); got != want {
				t.Errorf("delete: %d, want %d", got, want)
			}
		}
		if u := g.sandbox.env.KVUse.Stats(); u.Inserts != 10 || u.Lookups != 12 || u.Deletes != 2 || u.Failures != 0 || u.BytesWritten != 7 {
			t.Errorf("counted %+v", u)
		}
	})
}

func TestKVWaitsConsumeTheirHandle(t *testing.T) {
	eachKind(t, func(t *testing.T, g *guest, store uint32) {
		g.insertConfig(0, "some metadata", 0, 0)
		g.insert(store, "k", "v", kvInsertMetadata)
		p, n := g.put(textB, "k")
		g.ok("kv_store.lookup", store, p, n, 0, 0, outHandle)
		lookup := g.u32(outHandle)

		// Of another kind: the handle stays good.
		g.want(BadF, "kv_store.insert_wait", lookup, outOutcome)
		g.want(BadF, "kv_store.delete_wait", lookup, outOutcome)
		g.want(BadF, "kv_store.list_wait", lookup, outA, outOutcome)
		g.want(BadF, "object_store.pending_insert_wait", lookup)
		g.want(BadF, "object_store.pending_delete_wait", lookup)
		g.want(BadF, "http_body.close", lookup)
		g.want(BadF, "http_req.pending_req_wait", lookup, outA, outB)
		g.want(BadF, "http_downstream.next_request_wait", lookup, outA, outB)
		g.want(BadF, "kv_store.lookup", lookup+100, p, n, 0, 0, outHandle)
		g.want(BadF, "kv_store.lookup_wait_v2", store+100, outA, room, 2000, outLength, outGeneration, outOutcome)
		body := g.newBody()
		g.want(BadF, "kv_store.lookup_wait_v2", body, outA, room, 2000, outLength, outGeneration, outOutcome)

		// Pointers that are outside leave it, too.
		args := []uint32{lookup, outA, room, 2000, outLength, outGeneration, outOutcome}
		for i := 1; i < len(args); i++ {
			bad := append([]uint32(nil), args...)
			bad[i] = 0xFFFFFFF0
			g.want(Inval, "kv_store.lookup_wait_v2", bad...)
			g.want(Inval, "kv_store.lookup_wait", bad...)
		}
		bad := append([]uint32(nil), args...)
		bad[5] += 4
		g.want(BadAlign, "kv_store.lookup_wait_v2", bad...)

		// The metadata does not fit: its size is told, the handle is gone.
		g.want(BufLen, "kv_store.lookup_wait_v2", lookup, outA, room, 5, outLength, outGeneration, outOutcome)
		if g.u32(outLength) != 13 || g.str(room, 5) != "?????" || g.u32(outA) != InvalidHandle {
			t.Errorf("needs %d, body %d", g.u32(outLength), g.u32(outA))
		}
		g.want(BadF, "kv_store.lookup_wait_v2", args...)
		if live := g.sandbox.kvPending; live != 0 {
			t.Errorf("%d operations are pending", live)
		}
	})
}

func TestKVArgumentsAreChecked(t *testing.T) {
	g, store := kvGuest(t, kvStores{newStores(t)})
	key, n := g.put(textB, "key")
	for name, want := range map[string]Status{"shop": OK, "nowhere": Inval, "": Inval, "\xff": Inval, strings.Repeat("s", 256): Inval} {
		p, n := g.put(textA, name)
		g.want(want, "kv_store.open", p, n, outHandle)
		g.want(want, "object_store.open", p, n, outHandle)
	}
	for _, bad := range []string{"", "a\nb", "..", "#", ".well-known/acme-challenge/x", "\xff", strings.Repeat("k", 1025)} {
		p, n := g.put(textB, bad)
		g.want(Inval, "kv_store.lookup", store, p, n, 0, 0, outHandle)
		g.want(Inval, "kv_store.delete", store, p, n, 0, 0, outHandle)
		body := g.newBody()
		g.want(Inval, "kv_store.insert", store, p, n, body, 0, 0, outHandle)
		g.want(BadF, "http_body.close", body) // it is consumed
	}
	g.put(textB, "key")
	g.want(Inval, "kv_store.lookup", store, key, n, 2, config, outHandle)
	g.want(Inval, "kv_store.delete", store, key, n, 1<<31, config, outHandle)

	insert := func(name string, want Status, mask uint32) {
		t.Helper()
		body := g.newBody()
		if got := g.call("kv_store.insert", store, key, n, body, mask, config, outHandle); got != want {
			t.Errorf("insert, %s: %s, want %s", name, got, want)
		}
		if g.call("http_body.close", body) == OK && want == Inval {
			t.Errorf("insert, %s: the body is still there", name)
		}
	}
	g.insertConfig(4, "m", 60, 0)
	insert("unknown mode", Inval, 0)
	g.insertConfig(0, "m", 60, 0)
	insert("unknown bit", Inval, 1<<6)
	insert("everything", OK, kvInsertBits)
	g.insertConfig(0, "", 0, 0)
	insert("empty metadata", Inval, kvInsertMetadata)
	insert("no time to live", Inval, kvInsertTTL)
	insert("none of that is selected", OK, 0)
	g.insertConfig(0, strings.Repeat("m", 2000), 0, 0)
	insert("the longest metadata", OK, kvInsertMetadata)
	g.insertConfig(0, strings.Repeat("m", 2001), 0, 0)
	insert("longer metadata", Inval, kvInsertMetadata)
	g.insertConfig(0, "m", 0, 0)
	binary.LittleEndian.PutUint32(g.mem[config+8:], guestMemory)
	insert("metadata outside", Inval, kvInsertMetadata)

	// A struct of which only the fields in use are in memory.
	end := uint32(guestMemory - 4)
	binary.LittleEndian.PutUint32(g.mem[end:], uint32(kvstore.Add))
	g.want(OK, "kv_store.insert", store, key, n, g.newBody(), 0, end, outHandle)
	g.want(Inval, "kv_store.insert", store, key, n, g.newBody(), kvInsertTTL, end, outHandle)
	end = guestMemory - 16
	copy(g.mem[end:], []byte{0, 0, 0, 0, 0, 0, 0, 0})
	binary.LittleEndian.PutUint32(g.mem[end+8:], textMetadata)
	binary.LittleEndian.PutUint32(g.mem[end+12:], 1)
	g.want(OK, "kv_store.insert", store, key, n, g.newBody(), kvInsertMetadata, end, outHandle)
	unread := &slowBody{closed: make(chan struct{})}
	network, _ := g.sandbox.addBody(NewBody(NewSource(unread, -1, nil)))
	g.want(Inval, "kv_store.insert", store, key, n, network, 1<<6, 0, outHandle)
	select {
	case <-unread.closed:
	default:
		t.Error("the body of an insert that was refused is still open")
	}
	g.want(BadAlign, "kv_store.insert", store, key, n, g.newBody(), 0, config+2, outHandle)
	g.want(BadAlign, "kv_store.insert", store, key, n, g.newBody(), kvInsertIfGeneration, config+4, outHandle)
	g.want(BadF, "kv_store.insert", store, key, n, 9999, 0, 0, outHandle)
	stream := g.newBody()
	g.ok("http_resp.send_downstream", g.newResponse(), stream, 1)
	g.want(BadF, "kv_store.insert", store, key, n, stream, 0, 0, outHandle)

	list := func(name string, want Status, mask uint32, fields ...uint32) {
		t.Helper()
		for i, v := range fields {
			binary.LittleEndian.PutUint32(g.mem[config+4*i:], v)
		}
		if got := g.call("kv_store.list", store, mask, config, outHandle); got != want {
			t.Errorf("list, %s: %s, want %s", name, got, want)
		}
	}
	list("eventual", OK, 0, 1)
	list("unknown mode", Inval, 0, 2)
	list("unknown bit", Inval, 1<<4, 0)
	list("empty cursor", Inval, kvListCursor, 0, key, 0)
	list("long cursor", Inval, kvListCursor, 0, key, maxKVCursor+1)
	list("empty prefix", Inval, kvListPrefix, 0, 0, 0, 0, key, 0)
	list("long prefix", Inval, kvListPrefix, 0, 0, 0, 0, key, 1025)
	list("prefix outside", Inval, kvListPrefix, 0, 0, 0, 0, guestMemory, 1)
	g.mem[key] = 0xff
	list("prefix that is no text", Inval, kvListPrefix, 0, 0, 0, 0, key, 1)
	list("nothing selected", OK, kvReserved, 0, 0, 0, 0, 0, 0)
	g.want(BadAlign, "kv_store.list", store, 0, config+1, outHandle)
	g.want(BadF, "kv_store.list", store+9, 0, 0, outHandle)

	// A cursor that is none is the store's to refuse.
	g.put(textB, "nonsense")
	list("a cursor that is none", OK, kvListCursor, 0, key, 8)
	g.ok("kv_store.list_wait", g.u32(outHandle), outA, outOutcome)
	if got := kvError(g.u32(outOutcome)); got != kvBadRequest || g.u32(outA) != InvalidHandle {
		t.Errorf("a cursor that is none: %d, body %d", got, g.u32(outA))
	}
}

// listKeys gives a page as the guest reads it.
func (g *guest) listKeys(store, mask uint32, mode uint32, cursor string, limit uint32, prefix string) (page struct {
	Data []string
	Meta map[string]any
}) {
	g.t.Helper()
	cp, cn := g.put(textA, cursor)
	pp, pn := g.put(textB, prefix)
	for i, v := range []uint32{mode, cp, cn, limit, pp, pn} {
		binary.LittleEndian.PutUint32(g.mem[config+4*i:], v)
	}
	g.ok("kv_store.list", store, mask, config, outHandle)
	g.ok("kv_store.list_wait", g.u32(outHandle), outA, outOutcome)
	if got := kvError(g.u32(outOutcome)); got != kvOK {
		g.t.Fatalf("list: %d", got)
	}
	body, text := g.u32(outA), ""
	for {
		piece := g.read(body, 0x8000)
		if piece == "" {
			break
		}
		text += piece
	}
	g.ok("http_body.close", body)
	if err := json.Unmarshal([]byte(text), &page); err != nil {
		g.t.Fatalf("%v: %s", err, text)
	}
	return page
}

func TestKVListPages(t *testing.T) {
	eachKind(t, func(t *testing.T, g *guest, store uint32) {
		if p := g.listKeys(store, 0, 0, "", 0, ""); p.Data == nil || len(p.Data) != 0 || p.Meta["limit"] != 1000.0 || p.Meta["mode"] != "strong" || len(p.Meta) != 2 {
			t.Errorf("empty store: %+v", p)
		}
		opened, _ := g.sandbox.kvStores.get(store)
		for i := range 1234 {
			if _, err := opened.Insert(t.Context(), fmt.Sprintf("key/%04d", i), nil, kvstore.InsertOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		opened.Insert(t.Context(), "another <&>", nil, kvstore.InsertOptions{})
		var keys []string
		cursor, mask := "", uint32(kvListPrefix)
		for range 3 {
			p := g.listKeys(store, mask, 1, cursor, 0, "key/")
			keys = append(keys, p.Data...)
			if p.Meta["mode"] != "eventual" || p.Meta["consistency"] != "eventual" || p.Meta["prefix"] != "key/" {
				t.Errorf("meta: %v", p.Meta)
			}
			cursor, _ = p.Meta["next_cursor"].(string)
			if cursor == "" {
				break
			}
			mask |= kvListCursor
		}
		if len(keys) != 1234 || keys[0] != "key/0000" || keys[1233] != "key/1233" {
			t.Errorf("%d keys", len(keys))
		}
		if p := g.listKeys(store, kvListLimit, 0, "", 2, ""); len(p.Data) != 2 || p.Data[0] != "another <&>" || p.Meta["limit"] != 2.0 {
			t.Errorf("first two: %+v", p)
		}
		if p := g.listKeys(store, kvListLimit, 0, "", 1<<31, ""); len(p.Data) != 1000 || p.Meta["limit"] != 1000.0 {
			t.Errorf("%d keys of a page without bound, %v", len(p.Data), p.Meta)
		}
	})
}

func TestObjectStoreCalls(t *testing.T) {
	eachKind(t, func(t *testing.T, g *guest, store uint32) {
		p, n := g.put(textA, "shop")
		g.ok("object_store.open", p, n, outHandle)
		object := g.u32(outHandle)
		key, n := g.put(textB, "k")
		g.ok("object_store.lookup", object, key, n, outA)
		if g.u32(outA) != InvalidHandle {
			t.Errorf("missing key: body %d", g.u32(outA))
		}
		body := g.newBody()
		g.write(body, "value")
		g.ok("object_store.insert", object, key, n, body)
		g.want(BadF, "http_body.close", body)
		if value, _, _, _ := g.lookup(store, "k"); value != "value" {
			t.Errorf("found %q", value)
		}
		body = g.newBody()
		g.write(body, "other")
		g.ok("object_store.insert_async", object, key, n, body, outHandle)
		g.ok("object_store.pending_insert_wait", g.u32(outHandle))
		g.ok("object_store.lookup_async", object, key, n, outHandle)
		lookup := g.u32(outHandle)
		g.ok("object_store.pending_lookup_wait", lookup, outA)
		if got := g.read(g.u32(outA), 100); got != "other" {
			t.Errorf("found %q", got)
		}
		g.want(BadF, "object_store.pending_lookup_wait", lookup, outA)
		// The two modules share their handles.
		g.ok("object_store.delete_async", store, key, n, outHandle)
		g.ok("kv_store.delete_wait", g.u32(outHandle), outOutcome)
		g.ok("object_store.delete_async", object, key, n, outHandle)
		g.want(None, "object_store.pending_delete_wait", g.u32(outHandle))
		g.ok("kv_store.lookup", object, key, n, 0, 0, outHandle)
		g.ok("object_store.pending_lookup_wait", g.u32(outHandle), outA)
		if g.u32(outA) != InvalidHandle {
			t.Errorf("deleted key: body %d", g.u32(outA))
		}
		g.put(textB, "#")
		g.want(Inval, "object_store.lookup", object, key, 1, outA)
		g.want(Inval, "object_store.insert", object, key, 1, g.newBody())
		g.want(BadF, "object_store.lookup", object+9, key, 1, outA)
	})
}

func TestKVOperationsAreAsyncItems(t *testing.T) {
	remote := &remoteStores{Stores: newStores(t), gate: make(chan struct{})}
	g, store := kvGuest(t, remote)
	p, n := g.put(textB, "k")
	g.ok("kv_store.lookup", store, p, n, 0, 0, outHandle)
	lookup := g.u32(outHandle)
	g.ok("async_io.is_ready", lookup, outA)
	if g.u32(outA) != 0 {
		t.Error("ready before the store has answered")
	}
	binary.LittleEndian.PutUint32(g.mem[room:], lookup)
	g.ok("async_io.select", room, 1, 10, outA)
	if g.u32(outA) != selectTimedOut {
		t.Errorf("select gave %d", g.u32(outA))
	}
	time.AfterFunc(10*time.Millisecond, func() { close(remote.gate) })
	g.ok("async_io.select", room, 1, 0, outA)
	if g.u32(outA) != 0 {
		t.Errorf("select gave %d", g.u32(outA))
	}
	g.ok("async_io.is_ready", lookup, outA)
	if g.u32(outA) != 1 {
		t.Error("not ready after select")
	}
	g.ok("kv_store.lookup_wait_v2", lookup, outA, room, 2000, outLength, outGeneration, outOutcome)
	g.want(BadF, "async_io.is_ready", lookup, outA)
}

func TestKVFailures(t *testing.T) {
	open := make(chan struct{})
	close(open)
	for _, tt := range []struct {
		err    error
		short  bool
		want   kvError
		status Status // of kv_store
		legacy Status // of object_store
	}{
		{kvstore.ErrTooLarge, false, kvPayloadTooLarge, OK, Inval},
		{kvstore.ErrBusy, false, kvTooManyRequests, OK, LimitExceeded},
		{kvstore.ErrBusy, true, kvInternalError, LimitExceeded, LimitExceeded},
		{kvstore.ErrCorrupt, false, kvInternalError, OK, Error},
		{kvstore.ErrUnknown, false, kvInternalError, OK, Error},
		{kvstore.ErrClosed, false, kvInternalError, OK, Error},
		{errors.New("disk on fire"), false, kvInternalError, OK, Error},
	} {
		remote := &remoteStores{Stores: newStores(t), gate: open, err: fmt.Errorf("driver: %w", tt.err)}
		g, store := kvGuest(t, remote)
		g.sandbox.env.ShortKVErrors = tt.short
		warned := 0
		g.sandbox.env.Warn = func(string, string, error) { warned++ }
		p, n := g.put(textB, "k")
		g.ok("kv_store.lookup", store, p, n, 0, 0, outHandle)
		g.want(tt.status, "kv_store.lookup_wait_v2", g.u32(outHandle), outA, room, 2000, outLength, outGeneration, outOutcome)
		if got := kvError(g.u32(outOutcome)); got != tt.want || g.u32(outA) != InvalidHandle {
			t.Errorf("%v: lookup %d, want %d", tt.err, got, tt.want)
		}
		g.ok("kv_store.list", store, 0, 0, outHandle)
		g.want(tt.status, "kv_store.list_wait", g.u32(outHandle), outA, outOutcome)
		if got := kvError(g.u32(outOutcome)); got != tt.want || g.u32(outA) != InvalidHandle {
			t.Errorf("%v: list %d, want %d", tt.err, got, tt.want)
		}
		g.ok("object_store.insert_async", store, p, n, g.newBody(), outHandle)
		g.want(tt.legacy, "object_store.pending_insert_wait", g.u32(outHandle))
		g.want(tt.legacy, "object_store.lookup", store, p, n, outA)
		wantWarned := 0
		if tt.want == kvInternalError && !tt.short {
			wantWarned = 4
		}
		if warned != wantWarned || g.sandbox.env.KVUse.Stats().Failures != uint64(wantWarned) {
			t.Errorf("%v: warned %d times, counted %+v", tt.err, warned, g.sandbox.env.KVUse.Stats())
		}
	}
}

func TestKVLimits(t *testing.T) {
	g, store := kvGuest(t, kvStores{newStores(t)})
	p, n := g.put(textB, "k")
	for range maxKVPending {
		g.ok("kv_store.lookup", store, p, n, 0, 0, outHandle)
	}
	g.want(LimitExceeded, "kv_store.lookup", store, p, n, 0, 0, outHandle)
	g.want(LimitExceeded, "kv_store.insert", store, p, n, g.newBody(), 0, 0, outHandle)
	g.ok("kv_store.lookup_wait_v2", g.u32(outHandle), outA, room, 2000, outLength, outGeneration, outOutcome)
	g.sandbox.env.MaxKVOperations = maxKVPending + 1
	g.ok("kv_store.delete", store, p, n, 0, 0, outHandle)
	g.ok("kv_store.delete_wait", g.u32(outHandle), outOutcome)
	warned := 0
	g.sandbox.env.Warn = func(string, string, error) { warned++ }
	for range 3 {
		g.want(LimitExceeded, "kv_store.list", store, 0, 0, outHandle)
		g.want(LimitExceeded, "object_store.lookup", store, p, n, outA)
	}
	if warned != 1 {
		t.Errorf("warned %d times", warned)
	}
}

func TestKVValuesCountAgainstTheSandboxesBodies(t *testing.T) {
	stores := newStores(t)
	shop, _ := stores.Open(t.Context(), "shop")
	shop.Insert(t.Context(), "k", kvstore.BytesBody(make([]byte, 400<<10)), kvstore.InsertOptions{})
	g, store := kvGuest(t, kvStores{stores}) // 1 MiB
	p, n := g.put(textB, "k")
	get := func(want Status) uint32 {
		t.Helper()
		g.ok("kv_store.lookup", store, p, n, 0, 0, outHandle)
		g.want(want, "kv_store.lookup_wait_v2", g.u32(outHandle), outA, room, 2000, outLength, outGeneration, outOutcome)
		return g.u32(outA)
	}
	first := get(OK)
	get(OK)
	get(LimitExceeded)
	g.ok("http_body.close", first)
	last := get(OK)
	// What is written to such a body does not reach the store.
	q, l := g.put(textA, "end")
	g.ok("http_body.write", last, q, l, 0, outB)
	g.ok("http_body.known_length", last, outB)
	if got := g.u64(outB); got != 400<<10+3 {
		t.Errorf("length %d", got)
	}
	if v, err := shop.Lookup(t.Context(), "k"); err != nil || v.Body.Size() != 400<<10 {
		t.Errorf("the store has %v, %v", v, err)
	}
}

// slowBody gives one byte and then waits to be closed.
type slowBody struct {
	given  bool
	once   sync.Once
	closed chan struct{}
}

func (b *slowBody) Read(p []byte) (int, error) {
	if !b.given {
		b.given = true
		return copy(p, "x"), nil
	}
	<-b.closed
	return 0, errors.New("closed")
}

func (b *slowBody) Close() error {
	b.once.Do(func() { close(b.closed) })
	return nil
}

func TestKVInsertsStreamBodies(t *testing.T) {
	eachKind(t, func(t *testing.T, g *guest, store uint32) {
		opened, _ := g.sandbox.kvStores.get(store)
		parts, w := io.Pipe()
		network, st := g.sandbox.addBody(NewBody(NewSource(parts, -1, nil)))
		if st != OK {
			t.Fatal(st)
		}
		head := g.newBody()
		g.write(head, "head ")
		g.ok("http_body.append", head, network)
		p, n := g.put(textB, "k")
		g.ok("kv_store.insert", store, p, n, head, 0, 0, outHandle)
		insert := g.u32(outHandle)
		g.ok("async_io.is_ready", insert, outA)
		if g.u32(outA) != 0 {
			t.Error("the insert was done before its body had come")
		}
		large := strings.Repeat("0123456789", 100_000)
		go func() {
			io.WriteString(w, large)
			w.Close()
		}()
		g.ok("kv_store.insert_wait", insert, outOutcome)
		v, err := opened.Lookup(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := io.ReadAll(v.Body); string(got) != "head "+large {
			t.Errorf("%d bytes, %q", len(got), got[:min(len(got), 20)])
		}

		// A body that breaks leaves the value as it was.
		broken, w := io.Pipe()
		w.CloseWithError(io.ErrUnexpectedEOF)
		body, _ := g.sandbox.addBody(NewBody(NewSource(broken, 100, nil)))
		g.ok("kv_store.insert", store, p, n, body, 0, 0, outHandle)
		g.ok("kv_store.insert_wait", g.u32(outHandle), outOutcome)
		if got := kvError(g.u32(outOutcome)); got != kvBadRequest {
			t.Errorf("a body that broke: %d", got)
		}
		if value, err := opened.Lookup(t.Context(), "k"); err != nil || value.Generation != v.Generation {
			t.Error("a body that broke changed the value")
		}
	})
}

func TestKVWhatGuestsLeaveBehind(t *testing.T) {
	stores := newStores(t)
	shop, _ := stores.Open(t.Context(), "shop")
	remote := &remoteStores{Stores: stores, gate: make(chan struct{})}
	g, store := kvGuest(t, remote)
	use := g.sandbox.env.KVUse
	var warnings bytes.Buffer
	g.sandbox.env.Warn = func(id, message string, err error) { fmt.Fprintln(&warnings, message, err) }
	p, n := g.put(textB, "k")
	body := g.newBody()
	g.write(body, "v")
	g.ok("kv_store.insert", store, p, n, body, 0, 0, outHandle)
	g.ok("kv_store.lookup", store, p, n, 0, 0, outHandle)
	g.ok("kv_store.list", store, 0, 0, outHandle)
	p, n = g.put(textB, "absent")
	g.ok("kv_store.delete", store, p, n, 0, 0, outHandle)
	g.sandbox.Finish()
	close(remote.gate)
	use.Close(context.Background())
	if v, err := shop.Lookup(t.Context(), "k"); err != nil || v.Body.Size() != 1 {
		t.Errorf("the write that was left behind: %v", err)
	}
	if u := use.Stats(); u.LeftBehind != 2 || u.GivenUp != 0 || u.Failures != 0 || warnings.Len() != 0 {
		t.Errorf("counted %+v, warned %s", u, &warnings)
	}
}

func TestKVInsertWhoseBodyNeverComesIsGivenUp(t *testing.T) {
	defer func(d time.Duration) { kvLeftTime = d }(kvLeftTime)
	kvLeftTime = 20 * time.Millisecond
	stores := newStores(t)
	shop, _ := stores.Open(t.Context(), "shop")
	g, store := kvGuest(t, kvStores{stores})
	use := g.sandbox.env.KVUse
	warned := make(chan error, 1)
	g.sandbox.env.Warn = func(id, message string, err error) { warned <- err }
	slow := &slowBody{closed: make(chan struct{})}
	body, _ := g.sandbox.addBody(NewBody(NewSource(slow, -1, nil)))
	p, n := g.put(textB, "k")
	g.ok("kv_store.insert", store, p, n, body, 0, 0, outHandle)
	g.sandbox.Finish()
	use.Close(context.Background())
	if _, err := shop.Lookup(t.Context(), "k"); !errors.Is(err, kvstore.ErrNotFound) {
		t.Errorf("the insert that was given up: %v", err)
	}
	if u := use.Stats(); u.LeftBehind != 1 || u.GivenUp != 1 {
		t.Errorf("counted %+v", u)
	}
	if err := <-warned; err == nil {
		t.Error("warned of nothing")
	}
}

func TestKVWritesThatAreLeftBehindEndWithTheService(t *testing.T) {
	remote := &remoteStores{Stores: newStores(t), gate: make(chan struct{})}
	g, store := kvGuest(t, remote)
	use := g.sandbox.env.KVUse
	p, n := g.put(textB, "k")
	g.ok("kv_store.delete", store, p, n, 0, 0, outHandle)
	g.sandbox.Finish()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	use.Close(ctx)
	if u := use.Stats(); u.LeftBehind != 1 || u.GivenUp != 1 {
		t.Errorf("counted %+v", u)
	}
}

func TestKVWaitEndsWithTheGuest(t *testing.T) {
	remote := &remoteStores{Stores: newStores(t), gate: make(chan struct{})}
	g, store := kvGuest(t, remote)
	ctx, cancel := context.WithCancelCause(context.Background())
	g.caller.Context = ctx
	p, n := g.put(textB, "k")
	g.ok("kv_store.lookup", store, p, n, 0, 0, outHandle)
	why := errors.New("enough")
	time.AfterFunc(10*time.Millisecond, func() { cancel(why) })
	stack := []uint64{uint64(g.u32(outHandle)), outA, room, 2000, outLength, outGeneration, outOutcome}
	if err := g.calls["kv_store.lookup_wait_v2"].Fn(g.caller, stack); !errors.Is(err, why) {
		t.Errorf("the guest ended with %v", err)
	}
	stack = []uint64{uint64(store), uint64(p), uint64(n), outA}
	if err := g.calls["object_store.lookup"].Fn(g.caller, stack); !errors.Is(err, why) {
		t.Errorf("the guest ended with %v", err)
	}
	close(remote.gate)
}

// A value that is streamed may be given up while a read of it waits.
func TestKVValuesMayBeClosedWhileTheyAreRead(t *testing.T) {
	slow := &slowBody{given: true, closed: make(chan struct{})}
	cancelled := make(chan struct{})
	v := &valueReader{body: kvstore.StreamBody(slow, 5), cancel: func() { close(cancelled) }}
	done := make(chan struct{})
	go func() {
		v.Read(make([]byte, 5))
		close(done)
	}()
	for v.mu.TryLock() { // until it is reading
		v.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
	v.Close()
	<-cancelled // which ends the read in a driver that waits
	slow.Close()
	<-done
}

func BenchmarkKVLookup(b *testing.B) {
	stores := newStores(b)
	shop, _ := stores.Open(b.Context(), "shop")
	shop.Insert(b.Context(), "key", kvstore.BytesBody([]byte("a small value")), kvstore.InsertOptions{})
	g, store := kvGuest(b, kvStores{stores})
	g.sandbox.env.MaxKVOperations = 1 << 40
	p, n := g.put(textB, "key")
	lookup, wait, end := g.calls["kv_store.lookup"].Fn, g.calls["kv_store.lookup_wait_v2"].Fn, g.calls["http_body.close"].Fn
	stack := make([]uint64, 8)
	b.ReportAllocs()
	for b.Loop() {
		copy(stack, []uint64{uint64(store), uint64(p), uint64(n), 0, 0, outHandle})
		lookup(g.caller, stack)
		copy(stack, []uint64{uint64(g.u32(outHandle)), outA, room, 2000, outLength, outGeneration, outOutcome})
		wait(g.caller, stack)
		stack[0] = uint64(g.u32(outA))
		if end(g.caller, stack); stack[0] != uint64(OK) {
			b.Fatalf("the value's body cannot be closed: %d", stack[0])
		}
	}
}
