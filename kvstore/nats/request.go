package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/edgewasm/wasmedge/kvstore"
)

// The server's error codes (errors.json of nats-server).
const (
	codeInsufficient   = 10023
	codeNoMessage      = 10037
	codeStorageFull    = 10047
	codeNameTaken      = 10058
	codeNoStream       = 10059
	codeOtherStream    = 10060
	codeSubjectOverlap = 10065
	codeWrongSequence  = 10071
	codeStoreFailed    = 10077 // "maximum bytes exceeded" and its like
	codeInFlight       = 10158 // the same message is being stored
	codeWrongSequence2 = 10164
)

// errConflict is a write whose expected sequence was not the subject's.
var errConflict = errors.New("the key was changed meanwhile")

// apiError is an error as the server answers it.
type apiError struct {
	Status      int    `json:"code"`
	Code        int    `json:"err_code"`
	Description string `json:"description"`
}

// err translates to what package kvstore promises.
func (e *apiError) err() error {
	if e == nil {
		return nil
	}
	switch e.Code {
	case codeNoStream, codeOtherStream:
		return kvstore.ErrNoStore
	case codeSubjectOverlap, codeNameTaken:
		return kvstore.ErrStoreExists
	case codeNoMessage:
		return kvstore.ErrNotFound
	case codeWrongSequence, codeWrongSequence2:
		return errConflict
	case codeStorageFull, codeStoreFailed:
		return fmt.Errorf("%w: the server says %.200q; MaxBytes, or max_file_store of the server, is reached", kvstore.ErrReadOnly, e.Description)
	case codeInsufficient:
		return fmt.Errorf("%w: the server says %.200q", kvstore.ErrBusy, e.Description)
	}
	return fmt.Errorf("the server answered error %d, %.200q", e.Code, e.Description)
}

// again tells whether an error of one attempt may pass.
func (e *apiError) again() bool {
	return e != nil && (e.Code == codeInFlight || e.Status == 503) && e.err() != nil && !e.known()
}

// known tells whether err says more than that the server cannot do it now.
func (e *apiError) known() bool {
	return e.Code == codeStorageFull || e.Code == codeStoreFailed
}

const (
	pause   = 50 * time.Millisecond // before the next attempt
	longest = 2 * time.Second       // for one attempt
)

// outcome says how an attempt ended.
type outcome int

const (
	final   outcome = iota
	unsent          // it had no effect; try again
	unsure          // it may have had one
	closing         // Close was called
)

func judge(err error) outcome {
	switch {
	case errors.Is(err, client.ErrConnectionClosed):
		return closing
	case errors.Is(err, client.ErrReconnectBufExceeded), errors.Is(err, client.ErrConnectionReconnecting), errors.Is(err, client.ErrNoResponders),
		errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, client.ErrDisconnected):
		return unsent
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, client.ErrTimeout):
		return unsure
	}
	return final
}

// attempts calls f until it ends for good, ctx ends, or Timeout is over. was tells whether an attempt may have had an effect that
// nobody told of.
func (s *Stores) attempts(ctx context.Context, f func(ctx context.Context) (outcome, error)) (was bool, err error) {
	if err := s.begin(ctx); err != nil {
		return false, err
	}
	within, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	for {
		// An answer that is lost does not come any more: ask again before all time is over, or once the connection is lost.
		one, cancelOne := context.WithTimeout(within, min(max(s.o.Timeout/3, 50*time.Millisecond), longest))
		stop := context.AfterFunc(s.connection(), cancelOne)
		how, err := f(one)
		stop()
		cancelOne()
		was = was || how == unsure
		switch {
		case err == nil:
			return was, nil
		case ctx.Err() != nil:
			return was, fmt.Errorf("waiting for the server: %w", ctx.Err())
		case s.life.Err() != nil || how == closing:
			return was, kvstore.ErrClosed
		case how == final:
			return was, err
		case within.Err() != nil:
			return was, fmt.Errorf("no answer from the server within Timeout, %v: %w (%.200s)", s.o.Timeout, context.DeadlineExceeded, err)
		}
		select {
		case <-time.After(pause):
		case <-within.Done():
		case <-s.life.Done():
		}
	}
}

// retry calls f, which may be called many times, until it ends for good.
func (s *Stores) retry(ctx context.Context, f func(ctx context.Context) error) error {
	_, err := s.attempts(ctx, func(ctx context.Context) (outcome, error) {
		err := f(ctx)
		if err == nil {
			return final, nil
		}
		var api jetstream.JetStreamError
		if errors.As(err, &api) && api.APIError() != nil {
			a := api.APIError()
			mine := &apiError{Status: a.Code, Code: int(a.ErrorCode), Description: a.Description}
			if mine.again() {
				return unsent, mine.err()
			}
			return final, mine.err()
		}
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return final, kvstore.ErrNoStore
		}
		return judge(err), err
	})
	return err
}

// ask sends a request of the JetStream API and decodes the answer.
func (s *Stores) ask(ctx context.Context, subject string, request, answer any) error {
	b, err := json.Marshal(request)
	if err != nil {
		return err
	}
	_, err = s.attempts(ctx, func(ctx context.Context) (outcome, error) {
		reply, err := s.nc.RequestWithContext(ctx, "$JS.API."+subject, b)
		if err != nil {
			return judge(err), err
		}
		var e struct {
			Error *apiError `json:"error"`
		}
		if err := json.Unmarshal(reply.Data, &e); err != nil {
			return final, fmt.Errorf("the server's answer is not JSON: %w", err)
		}
		if e.Error.again() {
			return unsent, e.Error.err()
		}
		if e.Error != nil {
			return final, e.Error.err()
		}
		return final, json.Unmarshal(reply.Data, answer)
	})
	return err
}

// Headers of the server's (NATS documentation, "JetStream headers") and ours.
const (
	headerExpectStream   = "Nats-Expected-Stream"
	headerExpectSequence = "Nats-Expected-Last-Subject-Sequence"
	headerMessage        = "Nats-Msg-Id"
	headerTTL            = "Nats-TTL"

	headerExpires = "Kv-Expires" // nanoseconds since 1970
	headerSize    = "Kv-Size"    // bytes of value and metadata
	headerParts   = "Kv-Parts"   // token of the parts' name
	headerDeleted = "Kv-Deleted" // "1"
)

// publish stores a message. The error is errConflict if the subject was not at the expected sequence; then was tells whether
// an earlier attempt of the same call may be what changed it.
func (s *Stores) publish(ctx context.Context, m *client.Msg, stream string) (sequence uint64, was bool, err error) {
	m.Header.Set(headerExpectStream, stream)
	was, err = s.attempts(ctx, func(ctx context.Context) (outcome, error) {
		reply, err := s.nc.RequestMsgWithContext(ctx, m)
		if errors.Is(err, client.ErrNoResponders) {
			// Nobody takes the subject: there is no stream any more, or it has no leader at the moment.
			var info streamInfo
			if gone := s.ask(ctx, "STREAM.INFO."+stream, struct{}{}, &info); errors.Is(gone, kvstore.ErrNoStore) {
				return final, gone
			}
			return unsent, err
		}
		if err != nil {
			return judge(err), err
		}
		var ack struct {
			Error    *apiError `json:"error"`
			Sequence uint64    `json:"seq"`
		}
		switch err := json.Unmarshal(reply.Data, &ack); {
		case err != nil:
			return unsure, fmt.Errorf("the server's answer is not JSON: %w", err)
		case ack.Error.again():
			return unsent, ack.Error.err()
		case ack.Error != nil:
			return final, ack.Error.err()
		case ack.Sequence == 0:
			return unsure, errors.New("the server's answer holds no sequence")
		}
		sequence = ack.Sequence
		return final, nil
	})
	return sequence, was, err
}

// streamInfo is what is needed of a stream's state.
type streamInfo struct {
	State struct {
		Messages uint64 `json:"messages"`
		Last     uint64 `json:"last_seq"`
	} `json:"state"`
}
