package abi

import (
	"strings"
	"testing"
)

// names calls a multi-value hostcall repeatedly, as an SDK does, and gives all items.
func (g *guest) list(call string, bufLen uint32, args ...uint32) []string {
	g.t.Helper()
	var items []string
	cursor := uint32(0)
	for range 100 {
		all := append(append([]uint32{}, args...), room, bufLen, cursor, outB, outA)
		g.ok(call, all...)
		for _, s := range strings.SplitAfter(g.str(room, g.u32(outA)), "\x00") {
			if s != "" {
				items = append(items, strings.TrimSuffix(s, "\x00"))
			}
		}
		next := int64(g.u64(outB))
		if next < 0 {
			return items
		}
		cursor = uint32(next)
	}
	g.t.Fatal("the cursor never ends")
	return nil
}

func TestHeadersOfBothKinds(t *testing.T) {
	for _, kind := range []string{"http_req", "http_resp"} {
		t.Run(kind, func(t *testing.T) {
			g := newGuest(t, nil)
			h := g.newRequest()
			if kind == "http_resp" {
				h = g.newResponse()
			}
			g.header(kind, h, "header_append", "X-Tag", "one")
			g.header(kind, h, "header_append", "x-tag", "two")
			g.header(kind, h, "header_insert", "Content-TYPE", "text/plain")
			if got := g.list(kind+".header_names_get", 100, h); strings.Join(got, ",") != "x-tag,content-type" {
				t.Errorf("names %q", got)
			}
			np, nl := g.put(textA, "X-TAG")
			for _, size := range []uint32{4, 5, 8, 100} { // "one\0" fits in 4, both in 8
				if got := g.list(kind+".header_values_get", size, h, np, nl); strings.Join(got, ",") != "one,two" {
					t.Errorf("values %q with a buffer of %d", got, size)
				}
			}
			// A buffer that the first item does not fit.
			g.put(room, "???")
			g.want(BufLen, kind+".header_values_get", h, np, nl, room, 3, 0, outB, outA)
			if g.u32(outA) != 4 || int64(g.u64(outB)) != -1 || g.str(room, 3) == "one" {
				t.Errorf("needs %d, next %d, buffer %q", g.u32(outA), int64(g.u64(outB)), g.str(room, 3))
			}
			// No cursor output wanted.
			g.ok(kind+".header_values_get", h, np, nl, room, 100, 1, 0, outA)
			if got := g.str(room, g.u32(outA)); got != "two\x00" {
				t.Errorf("from item 1: %q", got)
			}
			g.ok(kind+".header_value_get", h, np, nl, room, 100, outA)
			if got := g.str(room, g.u32(outA)); got != "one" {
				t.Errorf("first value %q", got)
			}
			g.want(BufLen, kind+".header_value_get", h, np, nl, room, 2, outA)
			if g.u32(outA) != 3 {
				t.Errorf("needs %d", g.u32(outA))
			}
			ap, al := g.put(textB, "absent")
			g.want(Inval, kind+".header_value_get", h, ap, al, room, 100, outA)
			if got := g.list(kind+".header_values_get", 100, h, ap, al); got != nil {
				t.Errorf("values of an absent header: %q", got)
			}
			g.want(Inval, kind+".header_remove", h, ap, al)

			vp, vl := g.put(textB, "a\x00b\x00dropped")
			g.ok(kind+".header_values_set", h, np, nl, vp, vl)
			if got := g.list(kind+".header_values_get", 100, h, np, nl); strings.Join(got, ",") != "a,b" {
				t.Errorf("after setting: %q", got)
			}
			g.ok(kind+".header_remove", h, np, nl)
			if got := g.list(kind+".header_names_get", 100, h); strings.Join(got, ",") != "content-type" {
				t.Errorf("after removing: %q", got)
			}

			for _, bad := range []string{"", "a b", "a:b", "a\n"} {
				np, nl := g.put(textA, bad)
				vp, vl := g.put(textB, "v")
				g.want(Error, kind+".header_insert", h, np, nl, vp, vl)
			}
			np, nl = g.put(textA, "ok")
			vp, vl = g.put(textB, "a\r\nb: c")
			g.want(Error, kind+".header_append", h, np, nl, vp, vl)
			g.want(BadF, kind+".header_append", 999, np, nl, vp, 1)
			g.want(Inval, kind+".header_append", h, np, nl, 0xFFFFFFF0, 0x20)
			g.want(BadAlign, kind+".header_value_get", h, np, nl, room, 10, outA+1)
		})
	}
}

func TestHeaderSectionsAreBounded(t *testing.T) {
	g := newGuest(t, nil)
	h := g.newResponse()
	np, nl := g.put(textA, "x")
	vp, vl := g.put(textB, "v")
	for range maxFieldLines {
		g.ok("http_resp.header_append", h, np, nl, vp, vl)
	}
	g.want(HTTPHeadTooLarge, "http_resp.header_append", h, np, nl, vp, vl)
	g.ok("http_resp.header_remove", h, np, nl)
	// After removing there is room again: the count of bytes has come down, too.
	for range 40 {
		g.want(OK, "http_resp.header_append", h, np, nl, room, 20000)
	}
	for range 40 {
		if g.call("http_resp.header_append", h, np, nl, room, 20000) == HTTPHeadTooLarge {
			return
		}
	}
	t.Error("a header section of 1.6 MB was accepted")
}

func TestRequestFields(t *testing.T) {
	g := newGuest(t, nil)
	h := g.newRequest()
	text := func(call string) string {
		t.Helper()
		g.ok(call, h, room, 100, outA)
		return g.str(room, g.u32(outA))
	}
	if m, u := text("http_req.method_get"), text("http_req.uri_get"); m != "GET" || u != "/" {
		t.Errorf("a new request is %s %s", m, u)
	}
	p, n := g.put(textA, "PURGE")
	g.ok("http_req.method_set", h, p, n)
	p, n = g.put(textA, "https://example.org/x?y=z")
	g.ok("http_req.uri_set", h, p, n)
	if m, u := text("http_req.method_get"), text("http_req.uri_get"); m != "PURGE" || u != "https://example.org/x?y=z" {
		t.Errorf("got %s %s", m, u)
	}
	for _, bad := range []string{"", "GE T", "GET\n"} {
		p, n := g.put(textA, bad)
		g.want(Error, "http_req.method_set", h, p, n)
	}
	for _, bad := range []string{"", "/a b", "/\r\n", "/\x00", "/" + strings.Repeat("a", maxURI)} {
		p, n := g.put(textA, bad)
		g.want(Error, "http_req.uri_set", h, p, n)
	}
	g.ok("http_req.version_get", h, outA)
	if v := g.u32(outA); v != uint32(HTTP11) {
		t.Errorf("version %d", v)
	}
	g.ok("http_req.version_set", h, 3)
	g.want(Inval, "http_req.version_set", h, 5)
	g.ok("http_req.framing_headers_mode_set", h, 1)
	g.want(Inval, "http_req.framing_headers_mode_set", h, 2)
	g.ok("http_req.auto_decompress_response_set", h, 1)
	g.want(Inval, "http_req.auto_decompress_response_set", h, 2)
	g.ok("http_req.close", h)
	g.want(BadF, "http_req.close", h)
	g.want(BadF, "http_req.method_get", h, room, 100, outA)
	if next := g.newRequest(); next == h {
		t.Error("a handle was given out twice")
	}
}

func TestCacheOverride(t *testing.T) {
	tests := []struct {
		name     string
		tag      uint32
		key      string
		want     CacheOverride
		wantStat Status
	}{
		{name: "no tag and no key is no override", want: CacheOverride{}},
		{name: "pass beats the rest", tag: 1 | 2 | 8, key: "k", want: CacheOverride{Set: true, Pass: true}},
		{name: "only marked values count", tag: 2, want: CacheOverride{Set: true, HasTTL: true, TTL: 7, StaleWhile: 9}},
		{name: "a key alone is an override", key: "a b", want: CacheOverride{Set: true, TTL: 7, StaleWhile: 9, SurrogateKey: "a b"}},
		{name: "everything", tag: 14, key: "a", want: CacheOverride{Set: true, HasTTL: true, HasStale: true, PCI: true, TTL: 7, StaleWhile: 9, SurrogateKey: "a"}},
		{name: "unknown bits", tag: 16, wantStat: Inval},
		{name: "a key with a control character", key: "a\n", wantStat: Inval},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGuest(t, nil)
			h := g.newRequest()
			p, n := g.put(textA, tt.key)
			g.want(tt.wantStat, "http_req.cache_override_v2_set", h, tt.tag, 7, 9, p, n)
			r, _ := g.sandbox.requests.get(h)
			if r.Cache != tt.want {
				t.Errorf("got %+v, want %+v", r.Cache, tt.want)
			}
		})
	}
}

func TestCacheOverrideFromAStruct(t *testing.T) {
	g := newGuest(t, nil)
	h := g.newRequest()
	keys, n := g.put(textA, "a b")
	for i, v := range []uint32{7, 9, keys, n, 250} {
		outU32(g.mem[room+4*i:]).put(v)
	}
	g.ok("http_req.cache_override_v3_set", h, overrideTTL|overrideLookupTimeout, room)
	r, _ := g.sandbox.requests.get(h)
	want := CacheOverride{Set: true, HasTTL: true, TTL: 7, StaleWhile: 9, SurrogateKey: "a b", LookupTimeout: 250, HasLookupTimeout: true}
	if r.Cache != want {
		t.Errorf("got %+v, want %+v", r.Cache, want)
	}
	g.want(Inval, "http_req.cache_override_v3_set", h, 32, room)
	g.want(BadAlign, "http_req.cache_override_v3_set", h, overrideTTL, room+1)
	g.want(Inval, "http_req.cache_override_v3_set", h, overrideTTL, guestMemory-16)
	g.want(BadF, "http_req.cache_override_v3_set", 999, overrideTTL, room)
}

func TestTheClientRequest(t *testing.T) {
	g := newGuest(t, NewBody(nil))
	g.ok("http_req.body_downstream_get", outA, outB)
	req, body := g.u32(outA), g.u32(outB)
	g.ok("http_req.body_downstream_get", outA, outB)
	if g.u32(outA) != req || g.u32(outB) != body {
		t.Error("asked again, it gave other handles")
	}
	if got := g.list("http_req.header_names_get", 100, req); strings.Join(got, ",") != "host,accept,x-long" {
		t.Errorf("names %q", got)
	}
	np, nl := g.put(textA, "accept")
	if got := g.list("http_req.header_values_get", 100, req, np, nl); strings.Join(got, ",") != "a,b" {
		t.Errorf("values %q", got)
	}
	g.ok("http_req.uri_get", req, room, 100, outA)
	if got := g.str(room, g.u32(outA)); got != "http://example.com/a?b" {
		t.Errorf("URI %q", got)
	}

	// Facts stay readable after the request was consumed; other requests have none.
	g.ok("http_req.close", req)
	g.ok("http_downstream.downstream_client_ip_addr", req, room, outA)
	if g.u32(outA) != 4 || g.str(room, 4) != "\xc0\x00\x02\x01" {
		t.Errorf("client address % x", g.str(room, g.u32(outA)))
	}
	g.ok("http_req.downstream_server_ip_addr", room, outA)
	if g.u32(outA) != 16 {
		t.Errorf("server address has %d bytes", g.u32(outA))
	}
	g.ok("http_downstream.downstream_client_request_id", req, room, 32, outA)
	g.want(BufLen, "http_downstream.downstream_client_request_id", req, room, 31, outA)
	g.want(Error, "http_downstream.downstream_client_request_id", g.newRequest(), room, 32, outA)
	g.want(BadF, "http_downstream.downstream_client_request_id", 4444, room, 32, outA)
	g.want(None, "http_downstream.downstream_tls_ja4", req, room, 100, outA)
	g.want(None, "http_downstream.downstream_tls_ja3_md5", req, room, outA)
	g.want(None, "http_downstream.downstream_bot_name", req, room, 100, outA)
	g.ok("http_downstream.downstream_bot_detected", req, outA)
	g.ok("http_downstream.fastly_key_is_valid", req, outA)
	if g.u32(outA) != 1 {
		t.Error("a valid key was not recognised")
	}
	if got := g.list("http_downstream.downstream_original_header_names", 100, req); strings.Join(got, ",") != "host,accept,accept,x-long" {
		t.Errorf("original names %q", got)
	}
	g.ok("http_req.original_header_count", outA)
	if g.u32(outA) != 4 {
		t.Errorf("%d original headers", g.u32(outA))
	}
}

func TestResponseFields(t *testing.T) {
	g := newGuest(t, nil)
	h := g.newResponse()
	g.ok("http_resp.status_get", h, room)
	if got := g.str(room, 4); got != "\xc8\x00??" {
		t.Errorf("a new response has status %q", got)
	}
	for _, bad := range []uint32{0, 99, 1000, 70000} {
		g.want(Inval, "http_resp.status_set", h, bad)
	}
	g.ok("http_resp.status_set", h, 999)
	g.want(None, "http_resp.get_addr_dest_ip", h, room, outA)
	g.want(None, "http_resp.get_addr_dest_port", h, outA)
	g.ok("http_resp.http_keepalive_mode_set", h, 1)
	g.want(Inval, "http_resp.http_keepalive_mode_set", h, 2)
	g.ok("http_resp.close", h)
	g.want(BadF, "http_resp.status_get", h, outA)
}

func TestSendDownstream(t *testing.T) {
	t.Run("a response is sent once, after any number of early hints", func(t *testing.T) {
		g := newGuest(t, nil)
		r, b := g.newResponse(), g.newBody()
		g.ok("http_resp.status_set", r, 103)
		for _, link := range []string{"a", "b", "c"} {
			g.header("http_resp", r, "header_insert", "link", link)
			g.ok("http_resp.send_downstream", r, b, 0)
		}
		if got := strings.Join(g.client.hints, ","); got != "103 a,103 b,103 c" {
			t.Errorf("hints %q", got)
		}
		g.ok("http_resp.status_set", r, 102)
		g.want(Inval, "http_resp.send_downstream", r, b, 0)
		g.ok("http_resp.status_set", r, 201)
		g.write(b, "hello")
		g.ok("http_resp.send_downstream", r, b, 0)
		if g.client.resp.Status != 201 || !g.sandbox.Responded() {
			t.Errorf("status %d", g.client.resp.Status)
		}
		g.want(BadF, "http_resp.close", r)
		g.want(BadF, "http_body.close", b)
		g.want(Error, "http_resp.send_downstream", g.newResponse(), g.newBody(), 0)
	})
	t.Run("hints that the client does not take are refused", func(t *testing.T) {
		g := newGuest(t, nil)
		g.client.full = true
		r := g.newResponse()
		g.ok("http_resp.status_set", r, 103)
		g.want(LimitExceeded, "http_resp.send_downstream", r, g.newBody(), 0)
	})
	t.Run("with streaming the body stays open", func(t *testing.T) {
		g := newGuest(t, nil)
		r, b := g.newResponse(), g.newBody()
		g.write(b, "first,")
		g.ok("http_resp.send_downstream", r, b, 1)
		g.write(b, "second")
		g.want(BadF, "http_body.write", b, room, 1, 1, outA)
		g.want(BadF, "http_body.read", b, room, 10, outA)
		g.want(None, "http_body.known_length", b, outB)
		g.want(Inval, "http_body.trailer_names_get", b, room, 10, 0, outB, outA)
		g.ok("http_body.close", b)
		var got strings.Builder
		if err := g.client.body.CopyTo(t.Context(), &got, func() error { return nil }); err != nil || got.String() != "first,second" {
			t.Errorf("the client saw %q, %v", got.String(), err)
		}
	})
	t.Run("an open stream is broken off when the guest ends", func(t *testing.T) {
		g := newGuest(t, nil)
		r, b := g.newResponse(), g.newBody()
		g.ok("http_resp.send_downstream", r, b, 1)
		g.write(b, "part")
		body := g.client.body
		g.sandbox.Finish()
		var got strings.Builder
		if err := body.CopyTo(t.Context(), &got, func() error { return nil }); err != ErrIncomplete || got.String() != "part" {
			t.Errorf("the client saw %q, %v", got.String(), err)
		}
	})
}

func TestSmallModules(t *testing.T) {
	g := newGuest(t, nil)
	c := g.calls["abi.init"]
	for version, want := range map[uint64]Status{1: OK, 2: Error, 1 << 32: Error} {
		stack := []uint64{version}
		c.Fn(g.caller, stack)
		if Status(stack[0]) != want {
			t.Errorf("init(%d) == %s, want %s", version, Status(stack[0]), want)
		}
	}

	g.ok("compute_runtime.get_vcpu_ms", outB)
	if g.u64(outB) != 42 {
		t.Errorf("vCPU %d ms", g.u64(outB))
	}
	g.ok("compute_runtime.get_heap_mib", outA)
	if g.u32(outA) != 1 {
		t.Errorf("heap %d MiB", g.u32(outA))
	}

	for _, module := range []string{"config_store", "dictionary"} {
		open := func(name string) Status {
			p, n := g.put(textA, name)
			return g.call(module+".open", p, n, outA)
		}
		for name, want := range map[string]Status{"none such": BadF, "": None, "broken": Error, strings.Repeat("n", 256): Unsupported, "\xff": Inval, "shop": OK} {
			if got := open(name); got != want {
				t.Errorf("open(%.10q) == %s, want %s", name, got, want)
			}
		}
		open("shop")
		h := g.u32(outA)
		p, n := g.put(textA, "color")
		g.ok(module+".get", h, p, n, room, 100, outA)
		if got := g.str(room, g.u32(outA)); got != "green" {
			t.Errorf("value %q", got)
		}
		g.want(BufLen, module+".get", h, p, n, 0, 0, outA) // how an SDK asks whether a key is there
		p, n = g.put(textA, "absent")
		g.want(None, module+".get", h, p, n, 0, 0, outA)
		g.want(BadF, module+".get", h+1000, p, n, room, 100, outA)
	}

	logs := g.sandbox.env.Logs.(fakeLogs)
	p, n := g.put(textA, "audit")
	g.ok("log.endpoint_get", p, n, outA)
	first := g.u32(outA)
	g.ok("log.endpoint_get", p, n, outA)
	if g.u32(outA) != first {
		t.Error("the same name gave another handle")
	}
	mp, ml := g.put(textB, "user 7\n")
	g.ok("log.write", first, mp, ml, outA)
	if g.u32(outA) != ml || logs["audit"].String() != "user 7\n" {
		t.Errorf("wrote %d: %q", g.u32(outA), logs["audit"])
	}
	for name, want := range map[string]Status{"stdout": Inval, "STDERR": Inval, "Fst_Managed_x": Inval, "": Inval, "\xff": Inval, strings.Repeat("e", 256): LimitExceeded} {
		p, n := g.put(textA, name)
		g.want(want, "log.endpoint_get", p, n, outA)
	}
	g.want(BadF, "log.write", 77, mp, ml, outA)
	g.want(Unsupported, "image_optimizer.transform_image_optimizer_request", 0, 0, 0, 0, 0, 0, 0, 0, 0)
}
