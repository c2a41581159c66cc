package readthrough

import (
	"context"
	"net/http"
	"time"

	"github.com/edgewasm/wasmedge/host/backend"
	"github.com/edgewasm/wasmedge/host/cache"
	"github.com/edgewasm/wasmedge/host/cache/httpcache"
	"github.com/edgewasm/wasmedge/host/httpfield"
)

// apartAge is for how long a response that has to be validated each time is kept.
const apartAge = 7 * 24 * time.Hour

// stored is a response that is in the cache.
type stored struct {
	entry *cache.Entry
	head  httpcache.Head
}

// load gives what an entry holds; nil if it is none, or holds no response.
func load(e *cache.Entry) *stored {
	if e == nil {
		return nil
	}
	head, ok := httpcache.ParseHead(e.UserMetadata())
	if !ok {
		return nil
	}
	return &stored{e, head}
}

// staleOnError reports whether the response may be used because no newer one can be had.
func (s *stored) staleOnError() bool {
	return s.head.StaleIfError > 0 && s.entry.Age() < s.head.Lifetime+s.head.StaleIfError
}

// hit answers from the cache; nil if the body has gone.
func (k *call) hit(s *stored) *backend.Response {
	return k.answer(s.entry, &s.head, s.entry.Age(), &httpcache.Status{Hit: true, HasTTL: true, TTL: s.head.Lifetime - s.entry.Age()})
}

// answer makes the response to the client from an entry's body and a head, which is used up. age below 0 leaves Age as it is.
func (k *call) answer(e *cache.Entry, head *httpcache.Head, age time.Duration, st *httpcache.Status) *backend.Response {
	length, known := e.Length()
	if !known {
		length = -1
	}
	a := head.Answer(k.method, k.header, age, length)
	resp := &backend.Response{Status: a.Status, Proto: "HTTP/1.1", Header: a.Header, Body: http.NoBody}
	if a.Length != 0 {
		r := cache.Whole
		if a.Length > 0 {
			r = cache.Range{From: a.From, To: a.From + a.Length - 1}
			length = a.Length
		}
		reader, err := e.Open(r)
		if err != nil {
			return nil
		}
		resp.Body, resp.ContentLength = newBody(reader), length
	} else if k.method == http.MethodHead && a.Status != http.StatusNotModified {
		resp.ContentLength = length
	}
	hits := uint64(0)
	if st.Hit {
		hits = e.Hits()
	}
	return k.label(resp, st, hits)
}

// label says in a response what happened.
func (k *call) label(resp *backend.Response, st *httpcache.Status, hits uint64) *backend.Response {
	h := &resp.Header
	if st.Hit {
		join(h, "x-cache", "HIT")
	} else {
		join(h, "x-cache", "MISS")
	}
	join(h, "x-cache-hits", count(hits))
	if !k.o.KeepSurrogate {
		h.Del("surrogate-key")
		h.Del("surrogate-control")
	}
	if k.o.Debug {
		st.Cache, st.Collapsed = k.c.opts.Name, k.collapsed
		join(h, "cache-status", st.String())
	}
	return resp
}

// join adds an item to a list field.
func join(h *httpfield.List, name, item string) {
	if old, ok := h.Get(name); ok && old != "" {
		item = old + ", " + item
	}
	h.Set(name, item)
}

// fetch asks the origin: for what s, if not nil, was found to be, or for something new. It ends the transaction; nil is a request that has
// no obligation.
func (k *call) fetch(ctx context.Context, t *cache.Transaction, s *stored) (*backend.Response, error) {
	if t != nil {
		defer t.Close()
	}
	pass := t != nil && t.Pass()
	up := *k.r
	conditional := false
	if s != nil || !pass && httpcache.Narrow(k.header) {
		h := k.header.Clone()
		if s != nil {
			conditional = httpcache.Conditional(&h, &s.head.Header)
		} else {
			httpcache.Unconditional(&h)
		}
		up.Header = &h
	}
	why := "uri-miss"
	if s != nil {
		why = "stale"
	}
	e := &exchange{k: k, t: t, pass: pass, why: why}
	for {
		resp, err := e.send(ctx, &up)
		if failed(resp, err) && s != nil && ctx.Err() == nil {
			if r := k.instead(t, s); r != nil {
				if err == nil {
					resp.Body.Close()
				}
				e.over()
				return r, nil
			}
		}
		if err != nil {
			e.over()
			if t != nil && ctx.Err() == nil {
				_ = t.RecordUncacheable(cache.WriteOptions{}) // those who wait find out by themselves, all at once
			}
			return nil, err
		}
		if resp.Status != http.StatusNotModified || !conditional {
			return e.use(resp), nil
		}
		resp.Body.Close()
		e.over()
		if !httpcache.Changed(&s.head.Header, &resp.Header) {
			if r := e.renewed(s, resp); r != nil {
				return r, nil
			}
		}
		httpcache.Unconditional(up.Header) // what was found is of no use
		conditional, s = false, nil
	}
}

// failed reports whether stale-if-error counts an answer as an error (RFC 5861 section 4).
func failed(resp *backend.Response, err error) bool {
	if err != nil {
		return true
	}
	switch resp.Status {
	case 500, 502, 503, 504:
		return true
	}
	return false
}

// instead gives the stale response that takes the place of an error.
func (k *call) instead(t *cache.Transaction, s *stored) *backend.Response {
	if !s.staleOnError() {
		return nil
	}
	if t != nil && !t.Pass() {
		_ = t.ChooseStale() // else the next to come tries again
	}
	return k.hit(s)
}

// exchange is one with the origin, for the cache.
type exchange struct {
	k    *call
	t    *cache.Transaction // nil: without an obligation
	pass bool
	why  string // for Cache-Status
	sent time.Time

	cancel context.CancelCauseFunc
	unlink func() bool
}

// send sends the request. Until unlink, the end of ctx ends the exchange.
func (e *exchange) send(ctx context.Context, r *backend.Request) (*backend.Response, error) {
	var life context.Context
	life, e.cancel = context.WithCancelCause(e.k.c.life)
	cancel := e.cancel
	e.unlink = context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	e.sent = e.k.c.opts.Clock()
	resp, err := e.k.to.Send(life, r)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return resp, err
}

// over frees what an exchange held whose body is not read.
func (e *exchange) over() {
	e.unlink()
	e.cancel(nil)
}

func (e *exchange) judge(status int, h *httpfield.List) httpcache.Verdict {
	return e.k.c.opts.Policy.Judge(&httpcache.Exchange{
		Method: e.k.method, Request: e.k.header, Status: status, Response: h, Sent: e.sent, Received: e.k.c.opts.Clock(),
	}, e.k.o.Override)
}

// options are those of an object that is to hold a response.
func (e *exchange) options(v *httpcache.Verdict, head *httpcache.Head) cache.WriteOptions {
	keys := append(v.SurrogateKeys, httpcache.AddressKey(e.k.host, e.k.path))
	if e.k.o.SurrogateKeys != "" {
		total := 0
		for _, key := range keys {
			total += len(key) + 1
		}
		for _, key := range httpcache.SplitSurrogateKeys(e.k.o.SurrogateKeys) {
			if total += len(key) + 1; total <= cache.MaxSurrogateKeys {
				keys = append(keys, key)
			}
		}
	}
	return cache.WriteOptions{
		MaxAge: v.MaxAge, InitialAge: v.InitialAge, StaleWhileRevalidate: v.StaleWhileRevalidate, StaleIfError: v.StaleIfError,
		Vary: v.Vary, SurrogateKeys: keys, UserMetadata: head.Append(nil), Sensitive: e.k.o.Sensitive,
	}
}

// renewed answers with the stored response that a 304 was about, and stores what it says. Nil: its body has gone.
func (e *exchange) renewed(s *stored, resp *backend.Response) *backend.Response {
	merged := httpcache.Merge(&s.head.Header, &resp.Header)
	v := e.judge(s.head.Status, &merged)
	st := &httpcache.Status{Forward: e.why, Answered: resp.Status}
	head := httpcache.Head{Status: s.head.Status, Header: merged}
	if v.Action == httpcache.Insert {
		kept := httpcache.NewHead(s.head.Status, &merged, &v)
		o := e.options(&v, &kept)
		switch {
		case e.t == nil:
		case !e.pass:
			st.Stored = e.t.Update(o) == nil
		case !v.Validate:
			st.Stored = e.promote(s, o)
		}
	} else if e.t != nil && !e.pass {
		e.refuse(&v)
	}
	return e.k.answer(s.entry, &head, v.InitialAge, st)
}

// promote stores a response that had to be validated each time, and now has a lifetime.
func (e *exchange) promote(s *stored, o cache.WriteOptions) bool {
	r, err := s.entry.Open(cache.Whole)
	if err != nil {
		return false
	}
	w, err := e.t.Insert(o)
	if err != nil {
		r.Close()
		return false
	}
	go func() {
		defer r.Close()
		if _, err := r.WriteTo(w); err != nil {
			w.Abandon()
			return
		}
		_ = w.Close()
	}()
	return true
}

// refuse notes that a response is not stored.
func (e *exchange) refuse(v *httpcache.Verdict) {
	_ = e.t.RecordUncacheable(cache.WriteOptions{MaxAge: v.MaxAge, Vary: v.Vary}) // for a MaxAge of 0 it lets those go who wait
}

// use stores a response of the origin, or not, and answers with it.
func (e *exchange) use(resp *backend.Response) *backend.Response {
	k := e.k
	v := e.judge(resp.Status, &resp.Header)
	st := &httpcache.Status{Forward: e.why, Answered: resp.Status, Detail: v.Reason}
	if v.Action != httpcache.Insert {
		if e.t != nil && !(e.pass && v.Action == httpcache.RecordUncacheable) {
			e.refuse(&v)
		}
		return e.direct(resp, nil, st)
	}
	head := httpcache.NewHead(resp.Status, &resp.Header, &v)
	o := e.options(&v, &head)
	o.Length, o.KnownLength = resp.ContentLength, resp.ContentLength >= 0
	switch {
	case v.Validate:
		if e.t != nil && !e.pass {
			_ = e.t.RecordUncacheable(cache.WriteOptions{MaxAge: httpcache.HitForPass, Vary: v.Vary})
		}
		o.MaxAge, o.StaleWhileRevalidate, o.StaleIfError = o.InitialAge+apartAge, 0, 0
		w, err := k.c.space.Insert(k.apart[:], k.selecting, o)
		st.Stored = err == nil
		return e.direct(resp, w, st)
	case e.t == nil:
		w, err := k.c.space.Insert(k.key[:], k.selecting, o)
		st.Stored = err == nil
		return e.direct(resp, w, st)
	}
	w, entry, err := e.t.InsertAndStreamBack(o)
	if err != nil {
		st.Detail = "not-stored"
		_ = e.t.RecordUncacheable(cache.WriteOptions{MaxAge: httpcache.HitForPass, Vary: v.Vary})
		return e.direct(resp, nil, st)
	}
	st.Stored = true
	answer := k.answer(entry, &httpcache.Head{Status: resp.Status, Header: resp.Header}, -1, st)
	if answer == nil { // it broke at once
		w.Abandon()
		return e.direct(resp, nil, st)
	}
	e.unlink()
	go pump(resp.Body, w, e.cancel)
	return answer
}

// direct answers with a response whose body comes from the origin as it is read, and is written to w, if not nil, on its way.
func (e *exchange) direct(resp *backend.Response, w *cache.Writer, st *httpcache.Status) *backend.Response {
	var body body = &passing{src: resp.Body, w: w, end: e.over}
	if w == nil && resp.ContentLength >= 0 && resp.Status < 300 && !e.pass && httpcache.Narrow(e.k.header) {
		head := httpcache.Head{Status: resp.Status, Header: resp.Header}
		a := head.Answer(e.k.method, e.k.header, -1, resp.ContentLength)
		if a.Length == 0 {
			body.Close()
			body, resp.ContentLength = http.NoBody, 0
		} else if a.Length > 0 {
			body = &part{body: body, skip: a.From, left: a.Length}
			resp.ContentLength = a.Length
		}
		resp.Status, resp.Header = a.Status, a.Header
	}
	resp.Body = body
	return e.k.label(resp, st, 0)
}
