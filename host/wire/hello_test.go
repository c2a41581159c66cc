package wire

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"net"
	"slices"
	"strings"
	"testing"
)

// helloSpec builds ClientHello messages from the values that fingerprints are about.
type helloSpec struct {
	version  uint16
	ciphers  []uint16
	exts     []uint16
	groups   []uint16
	formats  []byte
	sigAlgs  []uint16
	versions []uint16
	alpn     []string
}

func list16(lenBytes int, values []uint16) []byte {
	var b []byte
	for _, v := range values {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	return prefixed(lenBytes, b)
}

func prefixed(lenBytes int, b []byte) []byte {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(b)))
	return append(head[4-lenBytes:], b...)
}

func (s helloSpec) message() []byte {
	b := binary.BigEndian.AppendUint16(nil, s.version)
	b = append(b, make([]byte, 32)...)
	b = append(b, prefixed(1, []byte("session"))...)
	b = append(b, list16(2, s.ciphers)...)
	b = append(b, prefixed(1, []byte{0})...)
	var exts []byte
	for _, id := range s.exts {
		var body []byte
		switch id {
		case extServerName:
			body = prefixed(2, append([]byte{0}, prefixed(2, []byte("example.com"))...))
		case extSupportedGroups:
			body = list16(2, s.groups)
		case extPointFormats:
			body = prefixed(1, s.formats)
		case extSignatureAlgs:
			body = list16(2, s.sigAlgs)
		case extSupportedVersion:
			body = list16(1, s.versions)
		case extALPN:
			var names []byte
			for _, p := range s.alpn {
				names = append(names, prefixed(1, []byte(p))...)
			}
			body = prefixed(2, names)
		}
		exts = append(binary.BigEndian.AppendUint16(exts, id), prefixed(2, body)...)
	}
	if s.exts != nil {
		b = append(b, prefixed(2, exts)...)
	}
	return append([]byte{handshakeHello}, prefixed(3, b)...)
}

// hexList reads "1301,1302".
func hexList(s string) []uint16 {
	var out []uint16
	for f := range strings.SplitSeq(s, ",") {
		b, err := hex.DecodeString(f)
		if err != nil {
			panic(err)
		}
		out = append(out, binary.BigEndian.Uint16(b))
	}
	return out
}

const (
	chromeCiphers = "1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035"
	chromeSigAlgs = "0403,0804,0401,0503,0805,0501,0806,0601"
)

func TestJA4GivesThePublishedValues(t *testing.T) {
	for _, tt := range []struct {
		name string
		spec helloSpec
		want string
	}{
		{"the example of the specification", helloSpec{
			version:  0x0303,
			ciphers:  hexList("2a2a," + chromeCiphers),
			exts:     hexList("6a6a,001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015,fafa"),
			sigAlgs:  hexList(chromeSigAlgs),
			versions: hexList("8a8a,0304,0303"),
			alpn:     []string{"h2", "http/1.1"},
		}, "t13d1516h2_8daaf6152771_e5627efa2ab1"},
		{"a current browser", helloSpec{
			version:  0x0303,
			ciphers:  hexList(chromeCiphers),
			exts:     hexList("002d,0033,0010,fe0d,0017,44cd,0000,000b,000a,002b,ff01,0023,0012,0005,000d,001b"),
			sigAlgs:  hexList(chromeSigAlgs),
			versions: hexList("0304,0303"),
			alpn:     []string{"h2"},
		}, "t13d1516h2_8daaf6152771_d8a2da3f94cd"},
		{"an ALPN value that is not ASCII", helloSpec{
			version:  0x0303,
			ciphers:  hexList(chromeCiphers),
			exts:     hexList("001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015"),
			sigAlgs:  hexList(chromeSigAlgs),
			versions: hexList("0304"),
			alpn:     []string{"\xba\xba\xcd"},
		}, "t13d1516bd_8daaf6152771_e5627efa2ab1"},
		{"no extensions at all", helloSpec{
			version: 0x0301,
			ciphers: hexList(chromeCiphers),
		}, "t10i150000_8daaf6152771_000000000000"},
		{"nothing but GREASE", helloSpec{
			version: 0x0304,
			ciphers: hexList("0a0a"),
			exts:    hexList("1a1a"),
		}, "t13i000000_000000000000_000000000000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, err := parseHello(tt.spec.message())
			if err != nil {
				t.Fatal(err)
			}
			if got := h.ja4(); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestJA4ALPNCharacters(t *testing.T) {
	// The table of the specification.
	for alpn, want := range map[string]string{
		"": "00", "h2": "h2", "http/1.1": "h1", "x": "xx", "\xab": "ab", " ": "20", "\xab\xcd": "ad", " a": "21", "0\xab": "3b",
		"a ": "60", "01\xab\xcd": "3d", "0\xab\xcd1": "01",
	} {
		a, b := ja4ALPN([]byte(alpn))
		if got := string([]byte{a, b}); got != want {
			t.Errorf("%q: got %s, want %s", alpn, got, want)
		}
	}
}

func TestJA3GivesThePublishedValues(t *testing.T) {
	for _, tt := range []struct {
		name, text, sum string
		spec            helloSpec
	}{
		{
			"with extensions", "769,47-53-5-10-49161-49162-49171-49172-50-56-19-4,0-10-11,23-24-25,0", "ada70206e40642a3e4461f35503241d5",
			helloSpec{
				version: 769,
				ciphers: []uint16{47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4},
				exts:    []uint16{0, 10, 11},
				groups:  []uint16{23, 24, 25},
				formats: []byte{0},
			},
		},
		{
			"without extensions", "769,4-5-10-9-100-98-3-6-19-18-99,,,", "de350869b8c85de67a350c8d186f11e6",
			helloSpec{version: 769, ciphers: []uint16{4, 5, 10, 9, 100, 98, 3, 6, 19, 18, 99}},
		},
		{
			"GREASE left out", "771,4865-4866-4867-49195-49199-49196-49200-52393-52392-49171-49172-156-157-47-53," +
				"45-51-16-65037-23-17613-0-11-10-43-65281-35-18-5-13-27,4588-29-23-24,0", "98487aa16281980e7d1120d399efb6a4",
			helloSpec{
				version: 771,
				ciphers: append([]uint16{0x3a3a}, hexList(chromeCiphers)...),
				exts:    []uint16{0x5a5a, 45, 51, 16, 65037, 23, 17613, 0, 11, 10, 43, 65281, 35, 18, 5, 13, 27, 0xbaba},
				groups:  []uint16{0xcaca, 4588, 29, 23, 24},
				formats: []byte{0},
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, err := parseHello(tt.spec.message())
			if err != nil {
				t.Fatal(err)
			}
			if got := h.ja3Text(); got != tt.text {
				t.Errorf("text: got %s, want %s", got, tt.text)
			}
			sum := h.ja3()
			if got := hex.EncodeToString(sum[:]); got != tt.sum {
				t.Errorf("sum: got %s, want %s", got, tt.sum)
			}
		})
	}
}

// records cuts a handshake message into records of n bytes.
func records(msg []byte, n int) []byte {
	var out []byte
	for part := range slices.Chunk(msg, n) {
		out = append(out, recordHandshake, 3, 1)
		out = append(out, prefixed(2, part)...)
	}
	return out
}

func TestRecorderFindsTheHelloHoweverItIsSplit(t *testing.T) {
	msg := helloSpec{version: 771, ciphers: hexList(chromeCiphers), exts: hexList("0000,0010"), alpn: []string{"h2"}}.message()
	for _, recordLen := range []int{1, 3, 4, 5, 100, len(msg)} {
		stream := append(records(msg, recordLen), "\x14\x03\x03\x00\x01\x01 more"...)
		for _, readLen := range []int{1, 2, 7, len(stream)} {
			var r helloRecorder
			for part := range slices.Chunk(stream, readLen) {
				r.feed(part)
			}
			if !bytes.Equal(r.message(), msg) {
				t.Errorf("records of %d bytes, reads of %d: got %x", recordLen, readLen, r.message())
			}
		}
	}
}

func TestRecorderKeepsNothingOfWhatIsNoHello(t *testing.T) {
	big := append([]byte{handshakeHello, 1, 0, 1}, make([]byte, 100)...)
	for name, stream := range map[string][]byte{
		"clear text":                  []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
		"another handshake message":   records([]byte{2, 0, 0, 2, 0, 0}, 100),
		"an alert":                    {21, 3, 1, 0, 2, 2, 40},
		"an empty record":             {22, 3, 1, 0, 0},
		"a record that is too long":   {22, 3, 1, 0x40, 1, 1},
		"a message that is too long":  records(big, 100),
		"a message that never ends":   records([]byte{1, 0, 1, 0, 1, 2, 3}, 100),
		"a header that is cut":        {22, 3},
		"nothing":                     {},
		"clear text after some bytes": append(records([]byte{1, 0, 1, 0}, 4), "GET / HTTP/1.1"...),
	} {
		var r helloRecorder
		r.feed(stream)
		if m := r.message(); m != nil {
			t.Errorf("%s: kept %x", name, m)
		}
	}
}

// goHello captures what crypto/tls sends.
func goHello(t testing.TB, cfg *tls.Config) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		tls.Client(client, cfg).Handshake()
		client.Close()
	}()
	rec := &helloConn{Conn: server}
	buf := make([]byte, 4096)
	for !rec.rec.done {
		if _, err := rec.Read(buf); err != nil {
			t.Fatal(err)
		}
	}
	return rec.rec.message()
}

func TestHelloOfGoClient(t *testing.T) {
	msg := goHello(t, &tls.Config{ServerName: "example.com", NextProtos: []string{"h2"}, MaxVersion: tls.VersionTLS12,
		CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384},
	})
	h, err := parseHello(msg)
	if err != nil {
		t.Fatal(err)
	}
	if got := h.ja4(); !strings.HasPrefix(got, "t12d02") || got[8:11] != "h2_" {
		t.Errorf("JA4 is %s", got)
	}
	if !h.hasServerName || string(h.alpn) != "h2" {
		t.Errorf("server name %v, ALPN %q", h.hasServerName, h.alpn)
	}
	slices.Sort(h.ciphers)
	if want := hexList("c02f,c030"); !slices.Equal(h.ciphers, want) {
		t.Errorf("ciphers %x, want %x", h.ciphers, want)
	}
}

func TestCutHelloIsAnError(t *testing.T) {
	msg := helloSpec{version: 771, ciphers: hexList(chromeCiphers), exts: hexList("0000,0010,002b"), alpn: []string{"h2"}}.message()
	for n := range len(msg) {
		if _, err := parseHello(msg[:n]); err == nil {
			t.Errorf("%d of %d bytes were taken", n, len(msg))
		}
	}
}

func TestEveryCipherSuiteOfGoHasItsOpenSSLName(t *testing.T) {
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		if opensslNames[s.ID] == "" {
			t.Errorf("%s has none", s.Name)
		}
	}
}

func FuzzClientHello(f *testing.F) {
	f.Add(records(helloSpec{version: 771, ciphers: hexList(chromeCiphers), exts: hexList("0000,0010,002b,000d,000a,000b"), alpn: []string{"h2"},
		groups: hexList("001d"), formats: []byte{0}, sigAlgs: hexList(chromeSigAlgs), versions: hexList("0304")}.message(), 50), 9)
	f.Add(records(helloSpec{version: 769, ciphers: hexList("0005")}.message(), 1000), 1)
	f.Add(records(goHello(f, &tls.Config{ServerName: "example.com"}), 700), 1000)
	f.Add([]byte("\x16\x03\x01\x00\x05\x01\xff\xff\xff\xff"), 3)
	f.Fuzz(func(t *testing.T, stream []byte, cut int) {
		var whole, split helloRecorder
		whole.feed(stream)
		for part := range slices.Chunk(stream, max(cut, 1)) {
			split.feed(part)
		}
		if !bytes.Equal(whole.message(), split.message()) {
			t.Fatalf("split changes the message: %x, %x", whole.message(), split.message())
		}
		msg := whole.message()
		if len(msg) > maxHello {
			t.Fatalf("kept %d bytes", len(msg))
		}
		h, err := parseHello(msg)
		if err != nil {
			parseHello(stream)
			return
		}
		if n := len(h.ja4()); n != len("t13d1516h2_8daaf6152771_e5627efa2ab1") {
			t.Fatalf("JA4 has %d characters", n)
		}
		h.ja3()
	})
}
