package host

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"

	"github.com/edgewasm/wasmedge/abi"
	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/httpfield"
)

// RunOptions are what a program sees that is run as a command.
type RunOptions struct {
	Args           []string  // the program's name first
	Stdout, Stderr io.Writer // nil discards
}

// Run runs the program once, as a test runner does: the client's request is GET http://example.com/ and the
// response is thrown away. It returns nil when the guest returned or exited with 0, else what
// engine.Instance.Call gives: *engine.ExitError, *engine.TrapError, the cause of ctx. Of the service's limits
// only those that were set apply; the default ones are meant for requests.
func (s *Service) Run(ctx context.Context, o RunOptions) error {
	switch r := s.gate.enter(ctx); r {
	case admitted:
	case clientLeft:
		return context.Cause(ctx)
	case gateClosed:
		return ErrShutdown
	default:
		return fmt.Errorf("%w: %s", engine.ErrNoSlot, r)
	}
	defer s.gate.leave()
	client := &commandClient{}
	request := commandRequest(client)
	sandbox := abi.NewSandbox(&s.env, &request)
	sandbox.Args = o.Args
	sandbox.Env = append(append(make([]string, 0, len(s.environ)+1), s.environ...), "FASTLY_TRACE_ID="+request.ID)
	sandbox.Stdout, sandbox.Stderr = o.Stdout, o.Stderr
	inst, err := s.template.Instantiate(engine.InstanceConfig{
		State:     sandbox,
		MaxMemory: s.cfg.Limits.Memory,
		MaxCPU:    max(s.cfg.Limits.CPU, 0),
	})
	if err != nil {
		return err
	}
	if s.cfg.Limits.Wall > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.cfg.Limits.Wall, ErrWallTime)
		defer cancel()
	}
	err = inst.Call(ctx, EntryPoint)
	sandbox.Finish()
	usage := inst.Usage()
	inst.Close()
	client.readers.Wait()
	if err = guestError(err); err != nil {
		err = s.ended(err, usage, nil)
	}
	return err
}

// commandRequest is the request of a program that has no client.
func commandRequest(client abi.Client) abi.ClientRequest {
	return abi.ClientRequest{
		ID:      strings.Repeat("0", 32),
		Method:  "GET",
		URI:     "http://example.com/",
		Version: abi.HTTP11,
		Header:  commandHeader{},
		Body:    abi.NewBody(nil),
		Facts:   commandFacts{},
		Client:  client,
	}
}

// commandClient takes the response of a program that has no client.
type commandClient struct {
	readers  sync.WaitGroup
	promised bool
}

func (c *commandClient) Inform(int, *httpfield.List) bool { return true }

func (c *commandClient) Promise(func()) {
	c.promised = true
	c.readers.Add(1)
}

// HandOff implements abi.HandOffClient: nobody waits for what the origin would say, so nobody asks it.
func (c *commandClient) HandOff(h *abi.HandOff) {
	h.Body.Abandon(abi.ErrReaderGone)
	h.Release()
}

func (c *commandClient) Respond(_ *abi.Response, b *abi.Body) {
	c.readers.Go(func() {
		if b.CopyTo(context.Background(), io.Discard, nop) != nil {
			b.Abandon(abi.ErrReaderGone)
		}
	})
	if c.promised {
		c.readers.Done()
	}
}

type commandHeader struct{}

func (commandHeader) AppendFields(l *httpfield.List) { l.Add("host", "example.com") }

// commandFacts are the facts of that client.
type commandFacts struct{ facts }

func (commandFacts) TLS() bool                    { return false }
func (commandFacts) ClientVerify() (uint32, bool) { return 0, false }
func (commandFacts) RemoteAddr() (netip.AddrPort, bool) {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0), true
}
func (commandFacts) LocalAddr() (netip.AddrPort, bool) {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 80), true
}
