package wire

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
)

// ja3Text is the string that JA3 hashes: version, ciphers, extensions, groups and point formats in decimal,
// in the client's order, without GREASE (github.com/salesforce/ja3).
func (h *clientHello) ja3Text() string {
	b := strconv.AppendUint(nil, uint64(h.version), 10)
	for _, list := range [][]uint16{h.ciphers, h.extensions, h.groups} {
		b = append(b, ',')
		first := true
		for _, v := range list {
			if isGREASE(v) {
				continue
			}
			if !first {
				b = append(b, '-')
			}
			first = false
			b = strconv.AppendUint(b, uint64(v), 10)
		}
	}
	b = append(b, ',')
	for i, v := range h.pointFormats {
		if i > 0 {
			b = append(b, '-')
		}
		b = strconv.AppendUint(b, uint64(v), 10)
	}
	return string(b)
}

func (h *clientHello) ja3() [md5.Size]byte { return md5.Sum([]byte(h.ja3Text())) }

// ja4 is the TLS client fingerprint JA4 for TLS over TCP (github.com/FoxIO-LLC/ja4,
// technical_details/JA4.md).
func (h *clientHello) ja4() string {
	ciphers := withoutGREASE(h.ciphers)
	exts := withoutGREASE(h.extensions)

	b := []byte{'t'}
	b = append(b, h.ja4Version()...)
	if h.hasServerName {
		b = append(b, 'd')
	} else {
		b = append(b, 'i')
	}
	b = appendTwoDigits(b, len(ciphers))
	b = appendTwoDigits(b, len(exts))
	first, last := ja4ALPN(h.alpn)
	b = append(b, first, last, '_')

	slices.Sort(ciphers)
	b = append(b, ja4Hash(appendHexList(nil, ciphers))...)
	b = append(b, '_')

	exts = slices.DeleteFunc(exts, func(v uint16) bool { return v == extServerName || v == extALPN })
	slices.Sort(exts)
	list := appendHexList(nil, exts)
	if algs := withoutGREASE(h.signatureAlgs); len(list) > 0 && len(algs) > 0 {
		list = appendHexList(append(list, '_'), algs)
	}
	return string(append(b, ja4Hash(list)...))
}

// ja4Version is the highest version offered.
func (h *clientHello) ja4Version() string {
	v := h.version
	if offered := withoutGREASE(h.supportedVersions); len(offered) > 0 {
		v = slices.Max(offered)
	}
	switch v {
	case 0x0304:
		return "13"
	case 0x0303:
		return "12"
	case 0x0302:
		return "11"
	case 0x0301:
		return "10"
	case 0x0300:
		return "s3"
	case 0x0002:
		return "s2"
	}
	return "00"
}

// ja4ALPN gives the first and last character of the first protocol, or of its hex form when one of the two
// is not an ASCII letter or digit.
func ja4ALPN(p []byte) (first, last byte) {
	if len(p) == 0 {
		return '0', '0'
	}
	first, last = p[0], p[len(p)-1]
	if isAlnum(first) && isAlnum(last) {
		return first, last
	}
	const digits = "0123456789abcdef"
	return digits[first>>4], digits[last&15]
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

// ja4Hash is the first 12 hex digits of the SHA-256 sum, zeros for an empty list.
func ja4Hash(list []byte) string {
	if len(list) == 0 {
		return "000000000000"
	}
	sum := sha256.Sum256(list)
	return hex.EncodeToString(sum[:6])
}

func appendTwoDigits(b []byte, n int) []byte {
	n = min(n, 99)
	return append(b, byte('0'+n/10), byte('0'+n%10))
}

func appendHexList(b []byte, list []uint16) []byte {
	const digits = "0123456789abcdef"
	for i, v := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, digits[v>>12], digits[v>>8&15], digits[v>>4&15], digits[v&15])
	}
	return b
}

func withoutGREASE(list []uint16) []uint16 {
	out := make([]uint16, 0, len(list))
	for _, v := range list {
		if !isGREASE(v) {
			out = append(out, v)
		}
	}
	return out
}
