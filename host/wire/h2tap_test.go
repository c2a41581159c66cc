package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// frameWriter builds the bytes that a client sends.
type frameWriter struct {
	bytes.Buffer
	*http2.Framer
	enc  *hpack.Encoder
	head bytes.Buffer
}

func newFrameWriter() *frameWriter {
	w := &frameWriter{}
	w.WriteString(http2.ClientPreface)
	w.Framer = http2.NewFramer(&w.Buffer, nil)
	w.AllowIllegalWrites = true
	w.enc = hpack.NewEncoder(&w.head)
	return w
}

func (w *frameWriter) block(fields ...string) []byte {
	w.head.Reset()
	for i := 0; i < len(fields); i += 2 {
		w.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return bytes.Clone(w.head.Bytes())
}

func (w *frameWriter) get(id uint32, fields ...string) {
	all := append([]string{":method", "GET", ":authority", "a", ":scheme", "http", ":path", "/" + strconv.Itoa(int(id))}, fields...)
	w.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: w.block(all...), EndStream: true, EndHeaders: true})
}

// tapped is what a server reads through a tap.
type tapped struct {
	id     uint32
	fields []hpack.HeaderField // without the marker
	marker string
}

// readTapped reads a client's bytes through a tap in parts, as net/http2 would.
func readTapped(t testing.TB, tap *h2Tap) (out []tapped, data int, err error) {
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(tap, preface); err != nil {
		return nil, 0, err
	}
	fr := http2.NewFramer(io.Discard, tap)
	fr.SetMaxReadFrameSize(maxFrame)
	fr.ReadMetaHeaders = hpack.NewDecoder(h2TableSize, nil)
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return out, data, err
		}
		switch f := f.(type) {
		case *http2.DataFrame:
			data += len(f.Data())
		case *http2.MetaHeadersFrame:
			r := tapped{id: f.StreamID}
			for _, h := range f.Fields {
				if h.Name == markerName {
					r.marker = h.Value
				} else {
					r.fields = append(r.fields, h)
				}
			}
			out = append(out, r)
		}
	}
}

func TestTapMarksEachRequestAndKnowsItsNames(t *testing.T) {
	w := newFrameWriter()
	w.WriteSettings(http2.Setting{ID: 1, Val: 65536}, http2.Setting{ID: 4, Val: 131072})
	w.WriteWindowUpdate(0, 12517377)
	w.get(1, "x-b", "1", "x-a", "2", "x-b", "3")
	w.WriteWindowUpdate(0, 7)
	w.get(3, "x-a", "2", "user-agent", "u")
	// Padding, a priority, a block over three frames, a body, trailers.
	block := w.block(":method", "POST", ":path", "/5", ":authority", "a", ":scheme", "http", "x-long", strings.Repeat("z", 300), "x-a", "2")
	w.WriteHeaders(http2.HeadersFrameParam{StreamID: 5, BlockFragment: block[:10], PadLength: 9, Priority: http2.PriorityParam{StreamDep: 3, Weight: 7}})
	w.WriteContinuation(5, false, block[10:100])
	w.WriteContinuation(5, true, block[100:])
	w.WriteData(5, false, bytes.Repeat([]byte{'d'}, 10000))
	w.WriteHeaders(http2.HeadersFrameParam{StreamID: 5, BlockFragment: w.block("x-trailer", "t"), EndStream: true, EndHeaders: true})
	w.WriteHeaders(http2.HeadersFrameParam{StreamID: 7, PadLength: 200, BlockFragment: w.block(":method", "GET", ":path", "/7", ":scheme", "http", ":authority", "a", "x-trailer", "t"), EndStream: true, EndHeaders: true})
	stream := w.Bytes()

	for name, src := range map[string]io.Reader{
		"in one piece":   bytes.NewReader(stream),
		"byte by byte":   iotest.OneByteReader(bytes.NewReader(stream)),
		"in half reads":  iotest.HalfReader(bytes.NewReader(stream)),
		"data with EOF":  iotest.DataErrReader(bytes.NewReader(stream)),
		"in small parts": &partReader{r: bytes.NewReader(stream), n: 11},
	} {
		t.Run(name, func(t *testing.T) {
			tap := newH2Tap(src, maxFrame, 1<<20)
			got, data, err := readTapped(t, tap)
			if err != io.EOF {
				t.Errorf("reading ended with %v", err)
			}
			if data != 10000 {
				t.Errorf("%d bytes of data", data)
			}
			want := map[uint32]string{1: "x-b,x-a,x-b", 3: "x-a,user-agent", 5: "x-long,x-a", 7: "x-trailer"}
			var claimed []*h2Stream
			for _, r := range got {
				if r.id == 5 && len(r.fields) == 1 { // the trailers
					if r.marker != "" {
						t.Error("the trailers are marked")
					}
					continue
				}
				if r.marker != strconv.Itoa(int(r.id)) {
					t.Errorf("stream %d has the marker %q", r.id, r.marker)
				}
				claimed = append(claimed, tap.claim(r.marker))
			}
			if len(claimed) != 4 {
				t.Fatalf("%d requests", len(claimed))
			}
			// The last first: the others must be decoded before it.
			for i, id := range slices.Backward([]uint32{1, 3, 5, 7}) {
				names, ok := tap.names(claimed[i])
				if s := strings.Join(names, ","); !ok || s != want[id] {
					t.Errorf("stream %d: got %q %v, want %q", id, s, ok, want[id])
				}
			}
			print, ok := tap.fingerprint()
			if want := "1:65536;4:131072|12517377|0|m,a,s,p"; !ok || print != want {
				t.Errorf("fingerprint %q %v, want %q", print, ok, want)
			}
			if tap.claim("1") != nil || tap.claim("99") != nil || tap.claim("x") != nil || tap.claim("-1") != nil {
				t.Error("a stream was claimed that is not there")
			}
			if len(tap.streams) != 0 || tap.waiting != 0 {
				t.Errorf("%d streams and %d bytes are left", len(tap.streams), tap.waiting)
			}
		})
	}
}

func TestFingerprintHasPrioritiesThatPrecedeTheFirstRequest(t *testing.T) {
	w := newFrameWriter()
	w.WriteSettings(http2.Setting{ID: 3, Val: 100})
	w.WritePriority(3, http2.PriorityParam{StreamDep: 0, Weight: 200})
	w.WritePriority(5, http2.PriorityParam{StreamDep: 3, Weight: 0, Exclusive: true})
	w.get(7)
	w.WritePriority(9, http2.PriorityParam{StreamDep: 0, Weight: 1})
	tap := newH2Tap(bytes.NewReader(w.Bytes()), maxFrame, 1<<20)
	if _, ok := tap.fingerprint(); ok {
		t.Error("there is a fingerprint before the first request")
	}
	readTapped(t, tap)
	if got, ok := tap.fingerprint(); !ok || got != "3:100|00|3:0:0:201,5:1:3:1|m,a,s,p" {
		t.Errorf("got %q %v", got, ok)
	}
}

func TestTapForgetsStreamsThatReachNoHandler(t *testing.T) {
	w := newFrameWriter()
	w.WriteSettings()
	for id := uint32(1); id < 24001; id += 2 {
		w.get(id, "x-a", "b")
	}
	tap := newH2Tap(bytes.NewReader(w.Bytes()), maxFrame, 1<<20)
	got, _, _ := readTapped(t, tap)
	if len(got) != 12000 {
		t.Fatalf("%d requests", len(got))
	}
	if tap.waiting > maxUnclaimed || tap.bytes > maxPendingBlocks {
		t.Errorf("%d bytes wait for a handler, %d to be decoded", tap.waiting, tap.bytes)
	}
	last := tap.claim(got[len(got)-1].marker)
	if last == nil {
		t.Fatal("the last stream is unknown")
	}
	if names, ok := tap.names(last); !ok || !slices.Equal(names, []string{"x-a"}) {
		t.Errorf("its names are %v %v", names, ok)
	}
}

func TestTapLeavesBrokenConnectionsToTheServer(t *testing.T) {
	for _, tt := range []struct {
		name  string
		write func(w *frameWriter)
	}{
		{"a block that ends within a field", func(w *frameWriter) {
			b := append(w.block(":method", "GET"), 0x00, 0x05, 'x', '-')
			w.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: b, EndHeaders: true})
		}},
		{"a block that wants the marker for its value", func(w *frameWriter) {
			b := append(w.block(":method", "GET", ":scheme", "http", ":path", "/"), 0x00, 0x01, 'x', byte(len(markerName)+4))
			w.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: b, EndHeaders: true})
		}},
		{"more padding than frame", func(w *frameWriter) {
			w.WriteRawFrame(frameHeaders, flagPadded|flagEndHeaders, 3, []byte{9, 0x82})
		}},
		{"a frame that is too long", func(w *frameWriter) {
			w.WriteRawFrame(frameHeaders, flagEndHeaders, 3, make([]byte, maxFrame+1))
		}},
		{"a continuation of nothing", func(w *frameWriter) { w.WriteContinuation(3, true, []byte{0x82}) }},
		{"a frame within a block", func(w *frameWriter) {
			w.WriteRawFrame(frameHeaders, 0, 3, []byte{0x82})
			w.WritePing(false, [8]byte{})
		}},
		{"an endless block", func(w *frameWriter) {
			w.WriteRawFrame(frameHeaders, 0, 3, []byte{0x82})
			for range 1000 {
				w.WriteContinuation(3, false, bytes.Repeat([]byte{0x82}, 1000))
			}
		}},
		{"a table index that is not there", func(w *frameWriter) {
			w.WriteRawFrame(frameHeaders, flagEndHeaders, 3, []byte{0xff, 0x60})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newFrameWriter()
			w.WriteSettings()
			w.get(1, "x-a", "b")
			tt.write(w)
			tap := newH2Tap(bytes.NewReader(w.Bytes()), maxFrame, 100_000)
			got, _, err := readTapped(t, tap)
			var connErr http2.ConnectionError
			var streamErr http2.StreamError
			// net/http takes the padding for an error of the stream.
			stream := errors.As(err, &streamErr) && strings.Contains(tt.name, "padding")
			if !errors.As(err, &connErr) && !stream && !errors.Is(err, http2.ErrFrameTooLarge) {
				t.Errorf("the server sees %v", err)
			}
			if len(got) != 1 {
				t.Fatalf("%d requests", len(got))
			}
			// What came before is still known.
			if names, ok := tap.names(tap.claim("1")); !ok || !slices.Equal(names, []string{"x-a"}) {
				t.Errorf("its names are %v %v", names, ok)
			}
			if tap.bytes > maxPendingBlocks || cap(tap.block) > 300_000 {
				t.Errorf("%d and %d bytes are kept", tap.bytes, cap(tap.block))
			}
		})
	}
}

func TestTapWithoutRoomForTheMarkerKnowsNothingButPassesTheRequest(t *testing.T) {
	w := newFrameWriter()
	w.WriteSettings()
	block := w.block(":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a")
	for maxFrame-len(block) > 3 { // fill the frame
		n := min(maxFrame-len(block)-3, 120)
		block = append(block, 0x10, 1, 'x', byte(n-1))
		block = append(block, bytes.Repeat([]byte{'y'}, n-1)...)
	}
	block = block[:min(len(block), maxFrame)]
	w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndHeaders: true})
	w.get(3, "x-a", "b")
	tap := newH2Tap(bytes.NewReader(w.Bytes()), maxFrame, 1<<20)
	got, _, err := readTapped(t, tap)
	if err != io.EOF || len(got) != 2 || got[0].marker != "" || got[1].marker != "3" {
		t.Fatalf("got %d requests and %v", len(got), err)
	}
	if names, ok := tap.names(tap.claim("3")); !ok || !slices.Equal(names, []string{"x-a"}) {
		t.Errorf("the next request has %v %v", names, ok)
	}
}

// FuzzH2Frames compares what a server reads with and without the tap: the same frames up to the same end,
// but for the marker.
func FuzzH2Frames(f *testing.F) {
	w := newFrameWriter()
	w.WriteSettings(http2.Setting{ID: 1, Val: 65536})
	w.WritePriority(3, http2.PriorityParam{Weight: 200})
	w.get(1, "x-b", "1", "x-a", "2")
	w.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, PadLength: 3, BlockFragment: w.block(":method", "POST", ":path", "/"), Priority: http2.PriorityParam{Weight: 1}})
	w.WriteContinuation(3, true, w.block("x-b", "2"))
	w.WriteData(3, true, []byte("data"))
	f.Add(w.Bytes()[len(http2.ClientPreface):], 5)
	f.Add(w.Bytes()[len(http2.ClientPreface):], 1000)
	f.Fuzz(func(t *testing.T, frames []byte, part int) {
		stream := append([]byte(http2.ClientPreface), frames...)
		tap := newH2Tap(&partReader{r: bytes.NewReader(stream), n: max(part, 1)}, maxFrame, 1<<20)
		through, err := io.ReadAll(tap)
		if err != nil {
			t.Fatal(err)
		}
		want := frameList(stream[len(http2.ClientPreface):])
		got := frameList(through[len(http2.ClientPreface):])
		if len(want) != len(got) {
			t.Fatalf("%d frames became %d", len(want), len(got))
		}
		for i := range want {
			if bytes.Equal(want[i], got[i]) {
				continue
			}
			name := []byte(markerName)
			at := bytes.Index(got[i], name)
			if at < 2 || len(got[i]) > frameHeaderLen+maxFrame {
				t.Fatalf("frame %d became %x, was %x", i, got[i], want[i])
			}
			end := at + len(name) + 1 + int(got[i][at+len(name)])
			rest := slices.Concat(got[i][3:at-2], got[i][end:])
			if !bytes.Equal(rest, want[i][3:]) {
				t.Fatalf("frame %d became %x, was %x", i, got[i], want[i])
			}
		}
		tap.fingerprint()
		for id, s := range tap.streams {
			tap.names(s)
			if tap.claim(strconv.Itoa(int(id))) != s {
				t.Fatalf("stream %d cannot be claimed", id)
			}
		}
		if tap.waiting != 0 {
			t.Fatalf("%d bytes are left", tap.waiting)
		}
	})
}

// frameList cuts bytes into frames; the last may be incomplete.
func frameList(b []byte) (out [][]byte) {
	for len(b) >= frameHeaderLen {
		n := min(frameHeaderLen+int(binary.BigEndian.Uint32(b)>>8), len(b))
		out = append(out, b[:n])
		b = b[n:]
	}
	if len(b) > 0 {
		out = append(out, b)
	}
	return out
}
