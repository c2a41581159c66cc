package abi

import (
	"strings"
	"testing"
)

// fakeDevices knows one text.
type fakeDevices struct{}

func (fakeDevices) Ready() bool { return true }

func (fakeDevices) Device(userAgent string) (string, bool) {
	return `{"device":{}}`, userAgent == "fake/1"
}

func (fakeDevices) Program(userAgent string) (family, major, minor, patch string) {
	if userAgent != "fake/1" {
		return "Other", "", "", ""
	}
	return "Fake", "1", "23", ""
}

func TestDeviceLookup(t *testing.T) {
	for _, test := range []struct {
		name    string
		text    string
		length  uint32 // 0: the text's
		room    uint32
		devices Devices
		want    Status
		answer  string
		needs   uint32
	}{
		{"a known text", "fake/1", 0, 100, fakeDevices{}, OK, `{"device":{}}`, 13},
		{"room for exactly the record", "fake/1", 0, 13, fakeDevices{}, OK, `{"device":{}}`, 13},
		{"too little room", "fake/1", 0, 12, fakeDevices{}, BufLen, "", 13},
		{"a text that is not known", "fake/2", 0, 100, fakeDevices{}, None, "", 0},
		{"no text", "", 0, 100, fakeDevices{}, None, "", 0},
		{"no device detection", "fake/1", 0, 100, nil, None, "", 0},
		{"not UTF-8", "fake\xff", 0, 100, fakeDevices{}, Inval, "", 0x3f3f3f3f},
		{"longer than a header", "fake/1", maxUserAgent + 1, 100, fakeDevices{}, Inval, "", 0x3f3f3f3f},
		{"longer than memory", "fake/1", guestMemory, 100, fakeDevices{}, Inval, "", 0x3f3f3f3f},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := newGuest(t, nil)
			g.sandbox.env.Devices = test.devices
			p, n := g.put(textA, test.text)
			if test.length > 0 {
				n = test.length
			}
			g.want(test.want, "device_detection.lookup", p, n, room, test.room, outA)
			if got := g.u32(outA); got != test.needs {
				t.Errorf("nwritten is %d, want %d", got, test.needs)
			}
			if got, want := g.str(room, 100), test.answer+strings.Repeat("?", 100-len(test.answer)); got != want {
				t.Errorf("the buffer holds %q, want %q", got, want)
			}
		})
	}
}

func TestUAPParse(t *testing.T) {
	for _, test := range []struct {
		name    string
		text    string
		rooms   [4]uint32
		devices Devices
		want    Status
		values  string // the parts, each in ten bytes of memory
		needs   [4]uint32
	}{
		{"a known text", "fake/1", [4]uint32{10, 10, 10, 10}, fakeDevices{}, OK, "Fake?????? 1????????? 23???????? ??????????", [4]uint32{4, 1, 2, 0}},
		{"exact room", "fake/1", [4]uint32{4, 1, 2, 0}, fakeDevices{}, OK, "Fake?????? 1????????? 23???????? ??????????", [4]uint32{4, 1, 2, 0}},
		{"one buffer is too small", "fake/1", [4]uint32{10, 10, 1, 10}, fakeDevices{}, BufLen, "?????????? ?????????? ?????????? ??????????", [4]uint32{4, 1, 2, 0}},
		{"a text that is not known", "fake/2", [4]uint32{10, 10, 10, 10}, fakeDevices{}, OK, "Other????? ?????????? ?????????? ??????????", [4]uint32{5, 0, 0, 0}},
		{"no device detection", "fake/1", [4]uint32{10, 10, 10, 10}, nil, OK, "Other????? ?????????? ?????????? ??????????", [4]uint32{5, 0, 0, 0}},
		{"not UTF-8", "\xff", [4]uint32{10, 10, 10, 10}, fakeDevices{}, Inval, "?????????? ?????????? ?????????? ??????????",
			[4]uint32{0x3f3f3f3f, 0x3f3f3f3f, 0x3f3f3f3f, 0x3f3f3f3f}},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := newGuest(t, nil)
			g.sandbox.env.Devices = test.devices
			p, n := g.put(textA, test.text)
			args := []uint32{p, n}
			for i, size := range test.rooms {
				args = append(args, room+uint32(i)*10, size, outA+uint32(i)*4)
			}
			g.want(test.want, "uap.parse", args...)
			var values []string
			for i := range test.rooms {
				values = append(values, g.str(room+uint32(i)*10, 10))
				if got := g.u32(outA + uint32(i)*4); got != test.needs[i] {
					t.Errorf("nwritten %d is %d, want %d", i, got, test.needs[i])
				}
			}
			if got := strings.Join(values, " "); got != test.values {
				t.Errorf("the buffers hold %q, want %q", got, test.values)
			}
		})
	}
}
