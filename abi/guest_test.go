package abi

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/httpfield"
	"github.com/edgewasm/wasmedge/host/ratelimit"
)

// guest stands in for a running program: it calls hostcalls with arguments in a memory of its own. Memory is
// filled with '?', so that stray writes show.
type guest struct {
	t       testing.TB
	mem     engine.Memory
	sandbox *Sandbox
	caller  *engine.Caller
	calls   map[string]engine.Hostcall
	client  *fakeClient
}

type fakeClient struct {
	hints []string
	resp  *Response
	body  *Body
	full  bool

	responded chan *Response // if set, gets the response

	handOffs []*HandOff
}

func (c *fakeClient) HandOff(h *HandOff) { c.handOffs = append(c.handOffs, h) }

func (c *fakeClient) Inform(status int, h *httpfield.List) bool {
	if c.full {
		return false
	}
	v, _ := h.Get("link")
	c.hints = append(c.hints, fmt.Sprint(status, " ", v))
	return true
}

func (c *fakeClient) Promise(func()) {}

func (c *fakeClient) Respond(r *Response, b *Body) {
	c.resp, c.body = r, b
	if c.responded != nil {
		c.responded <- r
	}
}

// noFacts knows addresses and nothing else.
type noFacts struct{}

func (noFacts) RemoteAddr() (netip.AddrPort, bool) {
	return netip.MustParseAddrPort("192.0.2.1:4711"), true
}
func (noFacts) LocalAddr() (netip.AddrPort, bool) {
	return netip.MustParseAddrPort("[2001:db8::1]:80"), true
}
func (noFacts) OriginalHeaderNames() ([]string, bool) { return nil, false }
func (noFacts) H2Fingerprint() (string, bool)         { return "", false }
func (noFacts) OHFingerprint() (string, bool)         { return "", false }
func (noFacts) TLS() bool                             { return false }
func (noFacts) TLSProtocol() (string, bool)           { return "", false }
func (noFacts) TLSCipher() (string, bool)             { return "", false }
func (noFacts) TLSServerName() (string, bool)         { return "", false }
func (noFacts) ClientHello() ([]byte, bool)           { return nil, false }
func (noFacts) ClientCertificate() ([]byte, bool)     { return nil, false }
func (noFacts) ClientVerify() (uint32, bool)          { return 0, false }
func (noFacts) JA3() ([16]byte, bool)                 { return [16]byte{}, false }
func (noFacts) JA4() (string, bool)                   { return "", false }

type fakeHeader struct{}

func (fakeHeader) AppendFields(l *httpfield.List) {
	l.Add("host", "example.com")
	l.Add("accept", "a")
	l.Add("accept", "b")
	l.Add("x-long", strings.Repeat("v", 300))
}

type fakeLogs map[string]*bytes.Buffer

func (l fakeLogs) Endpoint(name string) LogEndpoint {
	if l[name] == nil {
		l[name] = new(bytes.Buffer)
	}
	return logBuffer{l[name]}
}

type logBuffer struct{ b *bytes.Buffer }

func (l logBuffer) Write(p []byte) { l.b.Write(p) }

type fakeConfig map[string]fakeConfigStore

type fakeConfigStore map[string]string

func (s fakeConfigStore) Lookup(key string) (string, bool) {
	v, ok := s[key]
	return v, ok
}

func (c fakeConfig) OpenConfigStore(name string) (ConfigStore, error) {
	if name == "broken" {
		return nil, fmt.Errorf("cannot be read")
	}
	s, ok := c[name]
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrNoStore, name)
	}
	return s, nil
}

type fakeInstance struct{ engine.Instance }

func (fakeInstance) GrantCPU(time.Duration) {}
func (fakeInstance) Usage() engine.Usage    { return engine.Usage{CPU: 42_500_000} }

const guestMemory = 1 << 16

func newGuest(t testing.TB, body *Body) *guest {
	g := &guest{t: t, mem: bytes.Repeat([]byte{'?'}, guestMemory), client: new(fakeClient), calls: make(map[string]engine.Hostcall)}
	for _, c := range Hostcalls() {
		g.calls[strings.TrimPrefix(c.Module, "fastly_")+"."+c.Name] = c
	}
	if body == nil {
		body = NewBody(nil)
	}
	env := &Environment{
		Logs:         fakeLogs{},
		ConfigStores: fakeConfig{"shop": {"color": "green", "empty": ""}},
		ACLs:         someACLs(t),
		RateLimiter:  ratelimit.New(ratelimit.Options{MaxBytes: 1 << 20}),
		SecretStores: someSecrets(),
		FastlyKeys:   []string{"k1", "k2"},
		MaxBuffered:  1 << 20,
	}
	g.sandbox = NewSandbox(env, &ClientRequest{
		ID: "0123456789abcdef0123456789abcdef", Method: "POST", URI: "http://example.com/a?b", Version: HTTP11,
		FastlyKey: "k2", Body: body, Facts: noFacts{}, Client: g.client,
		Header: fakeHeader{},
	})
	g.caller = &engine.Caller{Memory: g.mem, State: g.sandbox, Context: context.Background(), Instance: fakeInstance{}}
	return g
}

// call gives the status of a hostcall. The upper half of each slot is garbage, as it may be from an engine.
func (g *guest) call(name string, args ...uint32) Status {
	g.t.Helper()
	c, ok := g.calls[name]
	if !ok {
		g.t.Fatalf("there is no hostcall %s", name)
	}
	if len(args) != len(c.Type.Params) {
		g.t.Fatalf("%s takes %d arguments, not %d", name, len(c.Type.Params), len(args))
	}
	stack := make([]uint64, max(len(args), 1))
	for i, a := range args {
		stack[i] = uint64(a)
		if c.Type.Params[i] == engine.I32 {
			stack[i] |= 0xdead_beef_0000_0000
		}
	}
	if err := c.Fn(g.caller, stack); err != nil {
		g.t.Fatalf("%s ended the guest: %v", name, err)
	}
	return Status(stack[0])
}

func (g *guest) ok(name string, args ...uint32) {
	g.t.Helper()
	g.want(OK, name, args...)
}

func (g *guest) want(st Status, name string, args ...uint32) {
	g.t.Helper()
	if got := g.call(name, args...); got != st {
		g.t.Errorf("%s%v == %s, want %s", name, args, got, st)
	}
}

// put writes text into memory and gives its pointer and length.
func (g *guest) put(at uint32, s string) (uint32, uint32) {
	copy(g.mem[at:], s)
	return at, uint32(len(s))
}

func (g *guest) u32(at uint32) uint32 { return binary.LittleEndian.Uint32(g.mem[at:]) }
func (g *guest) u64(at uint32) uint64 { return binary.LittleEndian.Uint64(g.mem[at:]) }
func (g *guest) str(at, n uint32) string {
	return string(g.mem[at : at+n])
}

// Places in memory that the tests use for outputs.
const (
	outA  = 0x100
	outB  = 0x108
	textA = 0x1000
	textB = 0x2000
	room  = 0x4000
)

// newBody, newRequest and newResponse give fresh handles.
func (g *guest) newBody() uint32 {
	g.t.Helper()
	g.ok("http_body.new", outA)
	return g.u32(outA)
}

func (g *guest) newRequest() uint32 {
	g.t.Helper()
	g.ok("http_req.new", outA)
	return g.u32(outA)
}

func (g *guest) newResponse() uint32 {
	g.t.Helper()
	g.ok("http_resp.new", outA)
	return g.u32(outA)
}

func (g *guest) write(body uint32, s string) {
	g.t.Helper()
	p, n := g.put(textA, s)
	g.ok("http_body.write", body, p, n, 0, outA)
	if got := g.u32(outA); got != n {
		g.t.Errorf("wrote %d of %d bytes", got, n)
	}
}

// read reads up to max bytes.
func (g *guest) read(body, max uint32) string {
	g.t.Helper()
	g.ok("http_body.read", body, room, max, outA)
	return g.str(room, g.u32(outA))
}

func (g *guest) header(kind string, h uint32, call, name, value string) {
	g.t.Helper()
	np, nl := g.put(textA, name)
	vp, vl := g.put(textB, value)
	g.ok(kind+"."+call, h, np, nl, vp, vl)
}
