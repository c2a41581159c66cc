package abi

import (
	"encoding/binary"
	"errors"
	"time"
	"unicode/utf8"

	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/kvstore"
)

// Bounds of what a guest may pass, in bytes.
const maxKVCursor = 8 << 10

// kvError is what became of an operation (kv_error).
type kvError uint32

const (
	kvUninitialized kvError = iota
	kvOK
	kvBadRequest
	kvNotFound
	kvPreconditionFailed
	kvPayloadTooLarge
	kvInternalError
	kvTooManyRequests
)

// Bits of kv_insert_config_options and kv_list_config_options. Bit 0 is reserved in all four kinds of options: it
// selects nothing.
const (
	kvReserved = 1 << 0

	kvInsertBackgroundFetch = 1 << 1 // a hint about where the value comes from
	kvInsertReserved        = 1 << 2
	kvInsertMetadata        = 1 << 3
	kvInsertTTL             = 1 << 4
	kvInsertIfGeneration    = 1 << 5
	kvInsertBits            = 1<<6 - 1

	kvListCursor = 1 << 1
	kvListLimit  = 1 << 2
	kvListPrefix = 1 << 3
	kvListBits   = 1<<4 - 1
)

// kvStoreCalls is the guest module fastly_kv_store. A call that begins an operation refuses what is wrong in its arguments;
// what becomes of the operation is told by the call that waits for it, as a kv_error beside the status OK.
var kvStoreCalls = calls{
	"open":           {fn: kvOpen},
	"lookup":         {fn: kvLookup},
	"lookup_wait":    {fn: kvLookupWait, ready: kvReady},
	"lookup_wait_v2": {fn: kvLookupWaitV2, ready: kvReady},
	"insert":         {fn: kvInsert, ready: kvBegins},
	"insert_wait":    {fn: kvInsertWait, ready: kvReady},
	"delete":         {fn: kvDelete},
	"delete_wait":    {fn: kvDeleteWait, ready: kvReady},
	"list":           {fn: kvList},
	"list_wait":      {fn: kvListWait, ready: kvReady},
}

// kvBegins: a call that begins an operation does not wait for it.
func kvBegins(*Sandbox, args) bool { return true }

func kvReady(s *Sandbox, a args) bool {
	it, st := s.items.get(a.u32(0))
	return st != OK || it.kv == nil || it.kv.finished()
}

// kvOpen is open(name, name_len, out handle). Inval: no such store, or not a name. Error: the store cannot be reached.
func kvOpen(s *Sandbox, m engine.Memory, a args) Status {
	out, st := u32Out(m, a.u32(2))
	if st != OK {
		return st
	}
	if a.u32(1) > kvstore.MaxName {
		return Inval
	}
	name, st := text(m, a.u32(0), a.u32(1))
	if st != OK {
		return st
	}
	if s.env.KVStores == nil {
		return Inval
	}
	store, err := s.env.KVStores.OpenKVStore(s.ctx(), name)
	switch {
	case err == nil:
	case errors.Is(err, kvstore.ErrNoStore), errors.Is(err, kvstore.ErrName):
		return Inval
	default:
		if !s.stopped() {
			s.warn("a KV store cannot be opened", err)
		}
		return Error
	}
	h, st := s.kvStores.add(newOpenKVStore(store))
	if st == OK {
		out.put(h)
	}
	return st
}

// kvKey decodes a key. Inval: not one that a store takes.
func kvKey(m engine.Memory, ptr, n uint32) (string, Status) {
	if n > kvstore.MaxKey {
		return "", Inval
	}
	key, st := text(m, ptr, n)
	if st == OK && kvstore.CheckKey(key) != nil {
		st = Inval
	}
	return key, st
}

// kvReservedOptions checks options that have but reserved fields: nothing of the struct is read.
func kvReservedOptions(mask uint32) Status {
	if mask&^uint32(kvReserved) != 0 {
		return Inval
	}
	return OK
}

// kvLookup is lookup(store, key, key_len, mask, options, out handle): begins a lookup. Inval: bad key, unknown option.
// LimitExceeded: the sandbox has too many operations.
func kvLookup(s *Sandbox, m engine.Memory, a args) Status {
	if st := kvReservedOptions(a.u32(3)); st != OK {
		return st
	}
	return s.beginLookup(m, a, a.u32(5))
}

// beginLookup begins the lookup that the first three arguments of a call name.
func (s *Sandbox) beginLookup(m engine.Memory, a args, ptr uint32) Status {
	out, st := u32Out(m, ptr)
	if st != OK {
		return st
	}
	op, st := s.newKVOn(m, a, kvLookupOp)
	if st != OK {
		return st
	}
	op.lookup(s)
	return s.addKV(op, out)
}

// kvStoreAndKey takes the store and the key of which the first three arguments of a call tell.
func (s *Sandbox) kvStoreAndKey(m engine.Memory, a args) (*openKVStore, string, Status) {
	store, st := s.kvStores.get(a.u32(0))
	if st != OK {
		return nil, "", st
	}
	key, st := kvKey(m, a.u32(1), a.u32(2))
	return store, key, st
}

// newKVOn makes an operation on the store and the key of which the first three arguments of a call tell.
func (s *Sandbox) newKVOn(m engine.Memory, a args, kind kvKind) (*kvOperation, Status) {
	store, key, st := s.kvStoreAndKey(m, a)
	if st != OK {
		return nil, st
	}
	op, st := s.newKV(kind)
	if st == OK {
		op.store, op.key = store, key
	}
	return op, st
}

// kvLookupWait is lookup_wait(handle, out body, metadata, metadata_len, out nwritten, out u32 generation, out kv_error). The
// generation is always 0: it does not fit.
func kvLookupWait(s *Sandbox, m engine.Memory, a args) Status {
	generation, st := u32Out(m, a.u32(5))
	if st != OK {
		return st
	}
	return s.lookupWait(m, a, func(uint64) { generation.put(0) })
}

// kvLookupWaitV2 is lookup_wait_v2(handle, out body, metadata, metadata_len, out nwritten, out u64 generation, out kv_error):
// waits for the outcome of a lookup and consumes the handle. BufLen: the metadata is longer than the buffer; the needed
// size was written, and the handle is gone. LimitExceeded: the sandbox holds too many bytes of bodies.
func kvLookupWaitV2(s *Sandbox, m engine.Memory, a args) Status {
	generation, st := u64Out(m, a.u32(5))
	if st != OK {
		return st
	}
	return s.lookupWait(m, a, generation.put)
}

func (s *Sandbox) lookupWait(m engine.Memory, a args, generation func(uint64)) Status {
	body, st := u32Out(m, a.u32(1))
	if st != OK {
		return st
	}
	metadata, st := bufferOut(m, a.u32(2), a.u32(3), a.u32(4))
	if st != OK {
		return st
	}
	outcome, st := u32Out(m, a.u32(6))
	if st != OK {
		return st
	}
	op, st := s.awaitKV(a.u32(0), kvLookupOp)
	if st != OK {
		return st
	}
	body.put(InvalidHandle)
	metadata.nwritten.put(0)
	generation(0)
	if st := s.kvOutcome(op.err, outcome); op.err != nil {
		return st
	}
	outcome.put(uint32(kvUninitialized)) // until nothing can go wrong any more
	metadata.nwritten.put(uint32(len(op.value.Metadata)))
	if len(op.value.Metadata) > len(metadata.dst) {
		op.discard()
		return BufLen
	}
	h, st := s.addValue(op)
	if st != OK {
		return st
	}
	copy(metadata.dst, op.value.Metadata)
	generation(op.value.Generation)
	body.put(h)
	outcome.put(uint32(kvOK))
	return OK
}

// kvInsert is insert(store, key, key_len, body, mask, options, out handle): begins an insert. The body is consumed
// once it and the store are known to be valid, even if the insert is then refused. Inval: bad key, mode or option, empty
// metadata, a time to live of 0. LimitExceeded: the sandbox has too many operations.
func kvInsert(s *Sandbox, m engine.Memory, a args) Status {
	out, st := u32Out(m, a.u32(6))
	if st != OK {
		return st
	}
	options, st := insertOptions(m, a.u32(4), a.u32(5))
	if st != OK && st != Inval {
		return st
	}
	return s.beginInsert(m, a, options, st, out)
}

// beginInsert begins the insert that the first four arguments of a call name. refused is what is wrong with its options.
func (s *Sandbox) beginInsert(m engine.Memory, a args, options kvstore.InsertOptions, refused Status, out outU32) Status {
	op, body, st := s.prepareInsert(m, a, refused)
	if st != OK {
		return st
	}
	op.insert(s, body, options)
	return s.addKV(op, out)
}

// prepareInsert takes what the first four arguments of an insert name.
func (s *Sandbox) prepareInsert(m engine.Memory, a args, refused Status) (*kvOperation, *Body, Status) {
	if _, st := in(m, a.u32(1), a.u32(2)); st != OK {
		return nil, nil, st
	}
	if _, st := s.kvStores.get(a.u32(0)); st != OK {
		return nil, nil, st
	}
	body, st := s.plainBody(a.u32(3))
	if st != OK {
		return nil, nil, st
	}
	s.items.take(a.u32(3))
	store, key, st := s.kvStoreAndKey(m, a)
	if st == OK {
		st = refused
	}
	var op *kvOperation
	if st == OK {
		op, st = s.newKV(kvInsertOp)
	}
	if st != OK {
		body.drop()
		return nil, nil, st
	}
	op.store, op.key = store, key
	return op, body, OK
}

// insertOptions decodes kv_insert_config. A null pointer is good where the mask is 0: the mode is that of most inserts then.
func insertOptions(m engine.Memory, mask, ptr uint32) (o kvstore.InsertOptions, st Status) {
	if mask&^uint32(kvInsertBits) != 0 {
		return o, Inval
	}
	if mask == 0 && ptr == 0 {
		return o, OK
	}
	// The fields behind the last one selected may not be there.
	size := uint32(4)
	for _, field := range []struct{ bit, end uint32 }{{kvInsertMetadata, 16}, {kvInsertTTL, 20}, {kvInsertIfGeneration, 32}} {
		if mask&field.bit != 0 {
			size = field.end
		}
	}
	if ptr%4 != 0 || mask&kvInsertIfGeneration != 0 && ptr%8 != 0 {
		return o, BadAlign
	}
	config, st := in(m, ptr, size)
	if st != OK {
		return o, st
	}
	field := func(at int) uint32 { return binary.LittleEndian.Uint32(config[at:]) }
	mode := field(0)
	if mode > uint32(kvstore.Prepend) {
		return o, Inval
	}
	o.Mode = kvstore.InsertMode(mode)
	if mask&kvInsertMetadata != 0 {
		n := field(12)
		if n == 0 || n > kvstore.MaxMetadata {
			return o, Inval
		}
		metadata, st := in(m, field(8), n)
		if st != OK {
			return o, st
		}
		o.Metadata = append([]byte(nil), metadata...)
	}
	if mask&kvInsertTTL != 0 {
		if o.TTL = time.Duration(field(16)) * time.Second; o.TTL == 0 {
			return o, Inval // to some this is for ever, to others not at all
		}
	}
	if mask&kvInsertIfGeneration != 0 {
		o.HasIfGeneration, o.IfGeneration = true, binary.LittleEndian.Uint64(config[24:])
	}
	return o, OK
}

// kvInsertWait is insert_wait(handle, out kv_error): waits for the outcome of an insert and consumes the handle.
func kvInsertWait(s *Sandbox, m engine.Memory, a args) Status {
	return s.writeWait(m, a, kvInsertOp)
}

// writeWait is what insert_wait and delete_wait have in common.
func (s *Sandbox) writeWait(m engine.Memory, a args, kind kvKind) Status {
	outcome, st := u32Out(m, a.u32(1))
	if st != OK {
		return st
	}
	op, st := s.awaitKV(a.u32(0), kind)
	if st != OK {
		return st
	}
	return s.kvOutcome(op.err, outcome)
}

// kvDelete is delete(store, key, key_len, mask, options, out handle): begins to delete a key. Inval: bad key, unknown option.
// LimitExceeded: the sandbox has too many operations.
func kvDelete(s *Sandbox, m engine.Memory, a args) Status {
	if st := kvReservedOptions(a.u32(3)); st != OK {
		return st
	}
	return s.beginDelete(m, a, a.u32(5))
}

// beginDelete begins to delete the key that the first three arguments of a call name.
func (s *Sandbox) beginDelete(m engine.Memory, a args, ptr uint32) Status {
	out, st := u32Out(m, ptr)
	if st != OK {
		return st
	}
	op, st := s.newKVOn(m, a, kvDeleteOp)
	if st != OK {
		return st
	}
	op.delete(s)
	return s.addKV(op, out)
}

// kvDeleteWait is delete_wait(handle, out kv_error): waits for the outcome and consumes the handle. A key that was not there
// is not_found.
func kvDeleteWait(s *Sandbox, m engine.Memory, a args) Status {
	return s.writeWait(m, a, kvDeleteOp)
}

// kvList is list(store, mask, options, out handle): begins to list a page of keys. Inval: bad mode or option, an empty cursor or
// prefix. LimitExceeded: the sandbox has too many operations.
func kvList(s *Sandbox, m engine.Memory, a args) Status {
	out, st := u32Out(m, a.u32(3))
	if st != OK {
		return st
	}
	store, st := s.kvStores.get(a.u32(0))
	if st != OK {
		return st
	}
	options, st := listOptions(m, a.u32(1), a.u32(2))
	if st != OK {
		return st
	}
	op, st := s.newKV(kvListOp)
	if st != OK {
		return st
	}
	op.store = store
	op.list(s, options)
	return s.addKV(op, out)
}

// listOptions decodes kv_list_config. A null pointer is good where the mask is 0.
func listOptions(m engine.Memory, mask, ptr uint32) (o kvstore.ListOptions, st Status) {
	if mask&^uint32(kvListBits) != 0 {
		return o, Inval
	}
	if mask == 0 && ptr == 0 {
		return o, OK
	}
	size := uint32(4)
	for _, field := range []struct{ bit, end uint32 }{{kvListCursor, 12}, {kvListLimit, 16}, {kvListPrefix, 24}} {
		if mask&field.bit != 0 {
			size = field.end
		}
	}
	if ptr%4 != 0 {
		return o, BadAlign
	}
	config, st := in(m, ptr, size)
	if st != OK {
		return o, st
	}
	field := func(at int) uint32 { return binary.LittleEndian.Uint32(config[at:]) }
	switch field(0) {
	case 0:
	case 1:
		o.Eventual = true
	default:
		return o, Inval
	}
	some := func(bit uint32, at int, most uint32) string {
		if mask&bit == 0 || st != OK {
			return ""
		}
		n := field(at + 4)
		if n == 0 || n > most {
			st = Inval
			return ""
		}
		var b []byte
		if b, st = in(m, field(at), n); st == OK && !utf8.Valid(b) {
			st = Inval
		}
		return string(b)
	}
	o.Cursor = some(kvListCursor, 4, maxKVCursor)
	o.Prefix = some(kvListPrefix, 16, kvstore.MaxKey)
	if mask&kvListLimit != 0 {
		o.Limit = int(min(field(12), kvstore.MaxListLimit))
	}
	return o, st
}

// kvListWait is list_wait(handle, out body, out kv_error): waits for the page and consumes the handle. The body is
// {"data":[keys],"meta":{"limit","prefix","next_cursor","mode"}}; prefix and next_cursor are absent where there is none.
func kvListWait(s *Sandbox, m engine.Memory, a args) Status {
	body, st := u32Out(m, a.u32(1))
	if st != OK {
		return st
	}
	outcome, st := u32Out(m, a.u32(2))
	if st != OK {
		return st
	}
	op, st := s.awaitKV(a.u32(0), kvListOp)
	if st != OK {
		return st
	}
	body.put(InvalidHandle)
	if st := s.kvOutcome(op.err, outcome); op.err != nil {
		return st
	}
	h, st := s.addPage(op.page)
	if st != OK {
		outcome.put(uint32(kvUninitialized))
		return st
	}
	body.put(h)
	return OK
}
