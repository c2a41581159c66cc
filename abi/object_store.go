package abi

import (
	"errors"

	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/kvstore"
)

// objectStoreCalls is the guest module fastly_object_store, through which old guests reach KV stores. It has no kv_error:
// what becomes of an operation is told by the status.
var objectStoreCalls = calls{
	"open":                {fn: kvOpen},
	"lookup":              {fn: objectLookup, ready: objectLookupReady},
	"lookup_async":        {fn: objectLookupAsync},
	"pending_lookup_wait": {fn: objectLookupWait, ready: kvReady},
	"insert":              {fn: objectInsert, ready: objectInsertReady},
	"insert_async":        {fn: objectInsertAsync, ready: kvBegins},
	"pending_insert_wait": {fn: objectInsertWait, ready: kvReady},
	"delete_async":        {fn: objectDeleteAsync},
	"pending_delete_wait": {fn: objectDeleteWait, ready: kvReady},
}

// objectStatus is the status that tells what became of an operation. A missing key is None.
func (s *Sandbox) objectStatus(err error) Status {
	switch s.kvErrorOf(err) {
	case kvOK:
		return OK
	case kvNotFound:
		return None
	case kvBadRequest, kvPreconditionFailed, kvPayloadTooLarge:
		return Inval
	case kvTooManyRequests:
		return LimitExceeded
	}
	return Error
}

// objectLookup is lookup(store, key, key_len, out body): waits for the value. A missing key gives OK and an invalid
// body handle. Inval: bad key.
func objectLookup(s *Sandbox, m engine.Memory, a args) Status {
	body, st := u32Out(m, a.u32(3))
	if st != OK {
		return st
	}
	op, st := s.newKVOn(m, a, kvLookupOp)
	if st != OK {
		return st
	}
	op.lookup(s)
	if !s.finishKV(op) {
		return Error
	}
	return s.deliverObject(op, body)
}

func objectLookupReady(s *Sandbox, a args) bool {
	store, st := s.kvStores.get(a.u32(0))
	return st != OK || store.promptLookup
}

func (s *Sandbox) deliverObject(op *kvOperation, body outU32) Status {
	body.put(InvalidHandle)
	if errors.Is(op.err, kvstore.ErrNotFound) {
		return OK
	}
	if op.err != nil {
		return s.objectStatus(op.err)
	}
	h, st := s.addValue(op)
	if st == OK {
		body.put(h)
	}
	return st
}

// objectLookupAsync is lookup_async(store, key, key_len, out handle): begins a lookup. Inval: bad key.
func objectLookupAsync(s *Sandbox, m engine.Memory, a args) Status {
	return s.beginLookup(m, a, a.u32(3))
}

// objectLookupWait is pending_lookup_wait(handle, out body): waits for the value and consumes the handle, as lookup does.
func objectLookupWait(s *Sandbox, m engine.Memory, a args) Status {
	body, st := u32Out(m, a.u32(1))
	if st != OK {
		return st
	}
	op, st := s.awaitKV(a.u32(0), kvLookupOp)
	if st != OK {
		return st
	}
	return s.deliverObject(op, body)
}

// objectInsert is insert(store, key, key_len, body): stores the body, which is consumed, and waits until that is done. Inval:
// bad key, too large.
func objectInsert(s *Sandbox, m engine.Memory, a args) Status {
	op, body, st := s.prepareInsert(m, a, OK)
	if st != OK {
		return st
	}
	op.insert(s, body, kvstore.InsertOptions{})
	if !s.finishKV(op) {
		return Error
	}
	return s.objectStatus(op.err)
}

func objectInsertReady(s *Sandbox, a args) bool {
	store, st := s.kvStores.get(a.u32(0))
	if st != OK {
		return true
	}
	body, st := s.plainBody(a.u32(3))
	return st != OK || store.promptWrite && body.Held(promptValue)
}

// objectInsertAsync is insert_async(store, key, key_len, body, out handle): begins an insert. The body is consumed.
func objectInsertAsync(s *Sandbox, m engine.Memory, a args) Status {
	out, st := u32Out(m, a.u32(4))
	if st != OK {
		return st
	}
	return s.beginInsert(m, a, kvstore.InsertOptions{}, OK, out)
}

// objectInsertWait is pending_insert_wait(handle): waits for the outcome and consumes the handle.
func objectInsertWait(s *Sandbox, m engine.Memory, a args) Status {
	op, st := s.awaitKV(a.u32(0), kvInsertOp)
	if st != OK {
		return st
	}
	return s.objectStatus(op.err)
}

// objectDeleteAsync is delete_async(store, key, key_len, out handle): begins to delete a key. Inval: bad key.
func objectDeleteAsync(s *Sandbox, m engine.Memory, a args) Status {
	return s.beginDelete(m, a, a.u32(3))
}

// objectDeleteWait is pending_delete_wait(handle): waits for the outcome and consumes the handle. None: the key was not there.
func objectDeleteWait(s *Sandbox, m engine.Memory, a args) Status {
	op, st := s.awaitKV(a.u32(0), kvDeleteOp)
	if st != OK {
		return st
	}
	return s.objectStatus(op.err)
}
