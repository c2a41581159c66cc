package abi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"

	"github.com/edgewasm/wasmedge/kvstore"
)

// KVStores opens KV stores by name. kvstore.ErrNoStore is wrapped when there is none of that name.
type KVStores interface {
	OpenKVStore(ctx context.Context, name string) (kvstore.Store, error)
}

const (
	// maxKVPending bounds the operations of a sandbox whose outcome the guest has not taken.
	maxKVPending = 1000
	// promptValue bounds the values that are stored on the spot, in bytes.
	promptValue = 64 << 10
)

// openKVStore is a store that the guest has a handle of.
type openKVStore struct {
	kvstore.Store
	promptLookup, promptWrite bool
}

func newOpenKVStore(store kvstore.Store) *openKVStore {
	o := &openKVStore{Store: store}
	if p, ok := store.(kvstore.Prompt); ok {
		o.promptLookup, o.promptWrite = p.PromptLookup(), p.PromptWrite()
	}
	return o
}

type kvKind uint8

const (
	kvLookupOp kvKind = iota
	kvInsertOp
	kvDeleteOp
	kvListOp
)

// kvOperation is an operation on a KV store that a guest has begun. What a prompt store answers at once is done when the call that
// begins it returns. Anything else runs in a goroutine of its own, and done tells when the fields below it may be read.
type kvOperation struct {
	kind   kvKind
	item   item // the sandbox's entry for it
	store  *openKVStore
	key    string
	cancel context.CancelFunc // of the goroutine; nil without one, also called when it has ended

	done  chan struct{} // closed at the end; nil without a goroutine
	err   error
	value kvstore.Value // of a lookup
	page  []byte        // of a list

	body Body   // of a lookup's value, once the guest has it
	src  Source // of body
}

// newKV counts an operation that is about to begin. LimitExceeded: there are too many.
func (s *Sandbox) newKV(kind kvKind) (*kvOperation, Status) {
	most := s.env.maxKVOperations()
	switch {
	case s.kvBegun >= most:
		if s.kvBegun == most {
			s.kvBegun++
			s.warn("the guest has begun more operations on KV stores than it may (setting: Limits.KVOperations)", nil)
		}
		return nil, LimitExceeded
	case s.kvPending >= maxKVPending:
		return nil, LimitExceeded
	}
	s.kvBegun++
	s.env.KVUse.begun(kind)
	return &kvOperation{kind: kind}, OK
}

// addKV gives a begun operation its handle.
func (s *Sandbox) addKV(op *kvOperation, out outU32) Status {
	op.item.kv = op
	h, st := s.items.add(&op.item)
	if st != OK {
		op.leave(s)
		return st
	}
	s.kvPending++
	out.put(h)
	return OK
}

// run does the operation's work in a goroutine, which may outlive the sandbox.
func (op *kvOperation) run(s *Sandbox, work func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	op.cancel, op.done = cancel, make(chan struct{})
	wake := s.wakeFn
	go func() {
		op.err = work(ctx)
		close(op.done)
		wake()
	}()
}

func (op *kvOperation) finished() bool {
	if op.done == nil {
		return true
	}
	select {
	case <-op.done:
		return true
	default:
		return false
	}
}

func (op *kvOperation) lookup(s *Sandbox) {
	store, key := op.store, op.key
	if store.promptLookup {
		// Nothing is waited for, and the value may outlive the guest: it has no part in the guest's context.
		op.value, op.err = store.Lookup(context.Background(), key)
		return
	}
	op.run(s, func(ctx context.Context) (err error) {
		op.value, err = store.Lookup(ctx, key)
		return err
	})
}

// insert stores what the body gives. The body is the operation's from here on.
func (op *kvOperation) insert(s *Sandbox, body *Body, o kvstore.InsertOptions) {
	body.leave()
	use := s.env.KVUse
	store, key := op.store, op.key
	held := body.Held(promptValue)
	if held && store.promptWrite {
		value := body.takeAll()
		_, op.err = store.Insert(context.Background(), key, kvstore.BytesBody(value), o)
		if op.err == nil {
			use.wrote(int64(len(value)))
		}
		return
	}
	body.keep() // the write goes on when the guest has ended
	op.run(s, func(ctx context.Context) error {
		// A read that waits ends when its source is closed, not with the context.
		stop := context.AfterFunc(ctx, func() { body.Abandon(ErrReaderGone) })
		defer body.drop()
		defer stop()
		source := &kvSource{ctx: ctx, body: body}
		var value io.Reader = source
		size, known := body.Length()
		switch {
		case held:
			b := body.takeAll()
			source.n = int64(len(b))
			value = kvstore.BytesBody(b)
		case known:
			value = kvstore.StreamBody(source, size)
		}
		_, err := store.Insert(ctx, key, value, o)
		if err == nil {
			use.wrote(source.n)
		}
		return err
	})
}

func (op *kvOperation) delete(s *Sandbox) {
	store, key := op.store, op.key
	if store.promptWrite {
		op.err = store.Delete(context.Background(), key, kvstore.DeleteOptions{})
		return
	}
	op.run(s, func(ctx context.Context) error { return store.Delete(ctx, key, kvstore.DeleteOptions{}) })
}

// list always takes a goroutine: a page may take a walk over many keys.
func (op *kvOperation) list(s *Sandbox, o kvstore.ListOptions) {
	store := op.store
	op.run(s, func(ctx context.Context) error {
		page, err := store.List(ctx, o)
		if err == nil {
			op.page, err = pageJSON(page, o)
		}
		return err
	})
}

// kvSource reads a guest's body for a store.
type kvSource struct {
	ctx  context.Context
	body *Body
	n    int64 // bytes so far
}

func (r *kvSource) Read(p []byte) (int, error) {
	n, err := r.body.Read(r.ctx, p)
	r.n += int64(n)
	if err != nil && err != io.EOF {
		err = &kvBodyError{err}
	}
	return n, err
}

func (r *kvSource) Close() error { return nil }

// kvBodyError is a body that broke while it was being stored: not the store's fault.
type kvBodyError struct{ err error }

func (e *kvBodyError) Error() string { return "the body to be stored: " + e.err.Error() }
func (e *kvBodyError) Unwrap() error { return e.err }

// finishKV waits for the operation's end; false when the guest must end.
func (s *Sandbox) finishKV(op *kvOperation) bool {
	if op.done == nil {
		return true
	}
	select {
	case <-op.done:
		return true
	case <-s.ctx().Done():
		s.fault = context.Cause(s.ctx())
		op.leave(s)
		return false
	}
}

// awaitKV waits for an operation of that kind and consumes its handle.
func (s *Sandbox) awaitKV(h uint32, kind kvKind) (*kvOperation, Status) {
	it, st := s.items.get(h)
	if st != OK || it.kv == nil || it.kv.kind != kind {
		return nil, BadF
	}
	op := it.kv
	if op.done != nil {
		select {
		case <-op.done:
		case <-s.ctx().Done():
			s.fault = context.Cause(s.ctx())
			return nil, Error
		}
	}
	s.items.take(h)
	s.kvPending--
	if op.value.Body == nil {
		op.discard()
	}
	return op, OK
}

// lateWarning warns of an operation when the sandbox may serve another client already.
func (s *Sandbox) lateWarning() func(error) {
	warn := s.env.Warn
	if warn == nil {
		return func(error) {}
	}
	id := ""
	if s.client != nil {
		id = s.client.ID
	}
	return func(err error) { warn(id, "a write to a KV store that the guest did not wait for failed", err) }
}

// isOutcome reports whether an error is the answer to a question of the guest's rather than a failure.
func isOutcome(err error) bool {
	return errors.Is(err, kvstore.ErrNotFound) || errors.Is(err, kvstore.ErrPrecondition)
}

// kvErrorOf tells what became of an operation.
func (s *Sandbox) kvErrorOf(err error) kvError {
	var body *kvBodyError
	switch {
	case err == nil:
		return kvOK
	case errors.As(err, &body), errors.Is(err, kvstore.ErrKey), errors.Is(err, kvstore.ErrCursor):
		return kvBadRequest
	case errors.Is(err, kvstore.ErrNotFound):
		return kvNotFound
	case errors.Is(err, kvstore.ErrPrecondition):
		return kvPreconditionFailed
	case errors.Is(err, kvstore.ErrTooLarge):
		return kvPayloadTooLarge
	case errors.Is(err, kvstore.ErrBusy):
		return kvTooManyRequests
	}
	s.env.KVUse.failed()
	s.warn("an operation on a KV store failed", err)
	return kvInternalError
}

// kvOutcome writes what became of an operation. It gives the call's status, which is OK for all that a kv_error can tell.
func (s *Sandbox) kvOutcome(err error, out outU32) Status {
	outcome := s.kvErrorOf(err)
	if outcome == kvTooManyRequests && s.env.ShortKVErrors {
		out.put(uint32(kvInternalError))
		return LimitExceeded
	}
	out.put(uint32(outcome))
	return OK
}

// addValue gives the guest the value that was found, as a body. The metadata is left to the caller.
func (s *Sandbox) addValue(op *kvOperation) (uint32, Status) {
	value := op.value.Body
	b := &op.body
	b.begin()
	if whole, ok := value.Bytes(); ok {
		if int64(len(whole)) > s.buffered {
			op.discard()
			s.warn("the guest holds more values of KV stores than it may", errBodyLimit)
			return InvalidHandle, LimitExceeded
		}
		s.buffered -= int64(len(whole))
		b.limit = &s.buffered
		if len(whole) > 0 {
			// Without spare room: the guest may write to its body, and the bytes are the store's.
			b.parts = append(b.parts, part{b: whole[:len(whole):len(whole)]})
			b.buffered = len(whole)
		}
		if op.cancel != nil {
			op.cancel()
		}
	} else {
		op.src = Source{r: &valueReader{body: value, cancel: op.cancel}, left: value.Size()}
		b.parts = append(b.parts, part{src: &op.src})
	}
	s.env.KVUse.read(value.Size())
	h, st := s.addBody(b)
	if st != OK {
		b.drop()
	}
	return h, st
}

// addPage gives the guest a page of keys, as a body.
func (s *Sandbox) addPage(page []byte) (uint32, Status) {
	if int64(len(page)) > s.buffered {
		s.warn("the guest holds more lists of keys than it may", errBodyLimit)
		return InvalidHandle, LimitExceeded
	}
	s.buffered -= int64(len(page))
	b := s.newBody()
	b.parts = append(b.parts, part{b: page})
	b.buffered = len(page)
	h, st := s.addBody(b)
	if st != OK {
		b.drop()
	}
	return h, st
}

// valueReader reads a stored value. Unlike a kvstore.Body it may be closed while another goroutine reads.
type valueReader struct {
	body   *kvstore.Body
	cancel context.CancelFunc // ends what the lookup began; nil for nothing

	mu     sync.Mutex // held while reading
	closed bool
}

func (v *valueReader) Read(p []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return 0, ErrReaderGone
	}
	return v.body.Read(p)
}

func (v *valueReader) Close() error {
	if v.cancel != nil {
		v.cancel()
	}
	if !v.mu.TryLock() {
		go func() {
			v.mu.Lock()
			v.close()
		}()
		return nil
	}
	return v.close()
}

// close closes the value once. The caller holds mu, which is released.
func (v *valueReader) close() error {
	defer v.mu.Unlock()
	if v.closed {
		return nil
	}
	v.closed = true
	return v.body.Close()
}

// leave is for an operation whose outcome nobody will see. A lookup or list ends; an insert or delete is left to end by itself,
// see KVUse.
func (op *kvOperation) leave(s *Sandbox) {
	if op.kind == kvInsertOp || op.kind == kvDeleteOp {
		if !op.finished() {
			s.env.KVUse.leave(op, s.lateWarning())
			return
		}
		if op.err != nil {
			s.kvErrorOf(op.err)
		}
	}
	if op.finished() {
		op.discard()
		return
	}
	op.cancel()
	go func() {
		<-op.done
		op.discard()
	}()
}

// discard lets go of what a finished operation holds.
func (op *kvOperation) discard() {
	if op.cancel != nil {
		op.cancel()
	}
	if op.value.Body != nil {
		op.value.Body.Close()
	}
}

// pageJSON is a page of keys as guests read it. One SDK looks for the mode under another name, and expects it where it is not
// strong alone.
func pageJSON(p kvstore.Page, o kvstore.ListOptions) ([]byte, error) {
	type meta struct {
		Limit       int    `json:"limit"`
		Prefix      string `json:"prefix,omitempty"`
		NextCursor  string `json:"next_cursor,omitempty"`
		Mode        string `json:"mode"`
		Consistency string `json:"consistency,omitempty"`
	}
	list := struct {
		Data []string `json:"data"`
		Meta meta     `json:"meta"`
	}{p.Keys, meta{Limit: o.Limit, Prefix: o.Prefix, NextCursor: p.NextCursor, Mode: "strong"}}
	if list.Data == nil {
		list.Data = []string{}
	}
	if o.Limit == 0 {
		list.Meta.Limit = kvstore.DefaultListLimit
	}
	if o.Eventual {
		list.Meta.Mode, list.Meta.Consistency = "eventual", "eventual"
	}
	return json.Marshal(list)
}
