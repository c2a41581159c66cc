package nats

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/edgewasm/wasmedge/kvstore"
	"github.com/edgewasm/wasmedge/kvstore/internal/value"
)

const (
	writeAhead = 4 // parts on their way to the server at once
	readAhead  = 2 // parts that are there before a reader asks
)

// partsSubject is where a value's parts are; their number is the next token.
func (st *store) partsSubject(name string) string {
	return st.root + ".p." + tokens.EncodeToString([]byte(name))
}

// keep reads a value to its end and makes a record of it. A value that is not inline is stored in parts then.
func (st *store) keep(ctx context.Context, r io.Reader) (record, error) {
	r = value.Reader(ctx, r, st.all.o.MaxValue)
	head := make([]byte, 0, 512)
	for int64(len(head)) <= st.all.inline {
		if len(head) == cap(head) {
			head = append(head, 0)[:len(head)]
		}
		n, err := r.Read(head[len(head):cap(head)])
		head = head[:len(head)+n]
		if err == io.EOF {
			if int64(len(head)) > st.all.inline {
				r = eof{}
				break
			}
			return record{kind: inline, size: int64(len(head)), data: head}, nil
		}
		if err != nil {
			return record{}, err
		}
	}
	rec := record{kind: inParts, partSize: uint32(st.all.part), began: time.Now()}
	name := make([]byte, partsName)
	_, _ = rand.Read(name) // it never fails
	rec.parts = string(name)
	st.tend()
	size, err := st.writeParts(ctx, rec.parts, head, r)
	rec.size = size
	if err != nil {
		st.discard(&rec)
		return record{}, st.noticed(err)
	}
	return rec, nil
}

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// writeParts stores head and what r gives, and returns how much that was.
func (st *store) writeParts(ctx context.Context, name string, head []byte, r io.Reader) (size int64, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	free := make(chan []byte, writeAhead)
	for range writeAhead {
		free <- nil
	}
	subject := st.partsSubject(name)
	for number := uint32(0); ; number++ {
		var buf []byte
		select {
		case buf = <-free:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		if buf == nil {
			buf = make([]byte, 4+st.all.part)
		}
		n := copy(buf[4:], head)
		head = head[n:]
		var more int
		var end error
		if n < len(buf)-4 {
			more, end = io.ReadFull(r, buf[4+n:])
			n += more
		}
		if end != nil && end != io.EOF && end != io.ErrUnexpectedEOF || errors.Is(end, io.ErrUnexpectedEOF) && end != io.ErrUnexpectedEOF {
			cancel(end)
			break
		}
		if n == 0 {
			break
		}
		size += int64(n)
		data := buf[:4+n]
		binary.BigEndian.PutUint32(data, partSum(name, number, data[4:]))
		wg.Go(func() {
			m := &client.Msg{Subject: subject + "." + strconv.FormatUint(uint64(number), 10), Header: client.Header{}, Data: data}
			m.Header.Set(headerMessage, tokens.EncodeToString([]byte(name))+strconv.FormatUint(uint64(number), 10))
			if _, _, err := st.all.publish(ctx, m, st.stream); err != nil {
				cancel(fmt.Errorf("storing part %d of the value: %w", number, err))
			}
			free <- buf
		})
		if end != nil {
			break
		}
	}
	wg.Wait()
	if ctx.Err() != nil {
		return size, context.Cause(ctx)
	}
	return size, nil
}

// discard removes the parts of a record that no key has. If that fails, they are found later (see index.sweep).
func (st *store) discard(r *record) {
	if r.kind != inParts {
		return
	}
	name := r.parts
	st.all.goes(func() { _ = st.purge(st.life, name) })
}

// purge removes parts.
func (st *store) purge(ctx context.Context, name string) error {
	var answer struct {
		Purged uint64 `json:"purged"`
	}
	return st.all.ask(ctx, "STREAM.PURGE."+st.stream, map[string]string{"filter": st.partsSubject(name) + ".>"}, &answer)
}

// partsReader reads a value from its parts. Those that come next are fetched meanwhile.
type partsReader struct {
	st     *store
	rec    record
	ctx    context.Context
	cancel context.CancelFunc
	parts  chan part // nil until the first Read
	rest   []byte
	err    error
}

type part struct {
	data []byte
	err  error
}

func (st *store) readParts(r *record) *partsReader {
	p := &partsReader{st: st, rec: *r}
	p.ctx, p.cancel = context.WithCancel(st.life)
	return p
}

func (p *partsReader) Read(b []byte) (int, error) {
	if p.err == nil && p.ctx.Err() != nil {
		p.err = p.ended()
	}
	if p.parts == nil && p.err == nil {
		p.parts = make(chan part, readAhead)
		p.st.all.goes(p.fetch)
	}
	for len(p.rest) == 0 && p.err == nil {
		select {
		case got, ok := <-p.parts:
			if !ok {
				got.err = io.EOF
			}
			p.rest, p.err = got.data, got.err
		case <-p.ctx.Done():
			p.err = p.ended()
		}
	}
	if len(p.rest) == 0 {
		return 0, p.err
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// ended tells why there is nothing to read any more.
func (p *partsReader) ended() error {
	if p.st.life.Err() != nil {
		return p.st.reason()
	}
	return errors.New("the value is closed")
}

func (p *partsReader) Close() error {
	p.cancel()
	return nil
}

// fetch fetches the parts in order. It closes parts after the last one.
func (p *partsReader) fetch() {
	count := p.rec.count()
	for number := range count {
		size := min(int64(p.rec.partSize), p.rec.size-number*int64(p.rec.partSize))
		data, err := p.st.part(p.ctx, p.rec.parts, uint32(number), size)
		select {
		case p.parts <- part{data, err}:
		case <-p.ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
	close(p.parts)
}

// part fetches a part. Parts never change, so that any server may answer; the leader is asked for those that it does not have.
func (st *store) part(ctx context.Context, name string, number uint32, size int64) ([]byte, error) {
	subject := st.partsSubject(name) + "." + strconv.FormatUint(uint64(number), 10)
	var data []byte
	found := false
	_, err := st.all.attempts(ctx, func(ctx context.Context) (outcome, error) {
		reply, err := st.all.nc.RequestWithContext(ctx, "$JS.API.DIRECT.GET."+st.stream+"."+subject, nil)
		if err != nil {
			if errors.Is(err, client.ErrNoResponders) {
				return final, nil
			}
			return judge(err), err
		}
		data, found = reply.Data, reply.Header.Get("Status") == ""
		return final, nil
	})
	if err == nil && !found {
		var answer struct {
			Message struct {
				Data []byte `json:"data"`
			} `json:"message"`
		}
		err = st.all.ask(ctx, "STREAM.MSG.GET."+st.stream, map[string]string{"last_by_subj": subject}, &answer)
		data = answer.Message.Data
	}
	if errors.Is(err, kvstore.ErrNotFound) {
		return nil, fmt.Errorf("%w: part %d of the value is missing: it is lost, or the value was replaced more than ReadGrace, %v, ago",
			kvstore.ErrCorrupt, number, st.all.o.ReadGrace)
	}
	if err != nil {
		return nil, fmt.Errorf("reading part %d of the value: %w", number, st.noticed(err))
	}
	return decodePart(name, number, size, data)
}
