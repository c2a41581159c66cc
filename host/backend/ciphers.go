package backend

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A suite is one that crypto/tls has for TLS 1.2 and older, with its OpenSSL name (openssl ciphers -V) and the groups
// of an OpenSSL cipher list that it belongs to (openssl-ciphers(1)).
type suite struct {
	id     uint16
	name   string
	groups string // space-separated
}

// suites are in crypto/tls's own order of preference, which cannot be changed: crypto/tls orders enabled suites itself.
var suites = []suite{
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "ECDHE-ECDSA-AES128-GCM-SHA256", "HIGH ECDHE EECDH kECDHE kEECDH ECDSA aECDSA AES AES128 AESGCM SHA256 TLSv1.2"},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "ECDHE-RSA-AES128-GCM-SHA256", "HIGH ECDHE EECDH kECDHE kEECDH aRSA AES AES128 AESGCM SHA256 TLSv1.2"},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ECDHE-ECDSA-AES256-GCM-SHA384", "HIGH ECDHE EECDH kECDHE kEECDH ECDSA aECDSA AES AES256 AESGCM SHA384 TLSv1.2"},
	{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "ECDHE-RSA-AES256-GCM-SHA384", "HIGH ECDHE EECDH kECDHE kEECDH aRSA AES AES256 AESGCM SHA384 TLSv1.2"},
	{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-ECDSA-CHACHA20-POLY1305", "HIGH ECDHE EECDH kECDHE kEECDH ECDSA aECDSA CHACHA20 TLSv1.2"},
	{tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-RSA-CHACHA20-POLY1305", "HIGH ECDHE EECDH kECDHE kEECDH aRSA CHACHA20 TLSv1.2"},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, "ECDHE-ECDSA-AES128-SHA", "HIGH ECDHE EECDH kECDHE kEECDH ECDSA aECDSA AES AES128 SHA SHA1 SSLv3 TLSv1"},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, "ECDHE-RSA-AES128-SHA", "HIGH ECDHE EECDH kECDHE kEECDH aRSA AES AES128 SHA SHA1 SSLv3 TLSv1"},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, "ECDHE-ECDSA-AES256-SHA", "HIGH ECDHE EECDH kECDHE kEECDH ECDSA aECDSA AES AES256 SHA SHA1 SSLv3 TLSv1"},
	{tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, "ECDHE-RSA-AES256-SHA", "HIGH ECDHE EECDH kECDHE kEECDH aRSA AES AES256 SHA SHA1 SSLv3 TLSv1"},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, "ECDHE-ECDSA-AES128-SHA256", "HIGH ECDHE EECDH kECDHE kEECDH ECDSA aECDSA AES AES128 SHA256 TLSv1.2"},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256, "ECDHE-RSA-AES128-SHA256", "HIGH ECDHE EECDH kECDHE kEECDH aRSA AES AES128 SHA256 TLSv1.2"},
	{tls.TLS_RSA_WITH_AES_128_GCM_SHA256, "AES128-GCM-SHA256", "HIGH RSA kRSA aRSA AES AES128 AESGCM SHA256 TLSv1.2"},
	{tls.TLS_RSA_WITH_AES_256_GCM_SHA384, "AES256-GCM-SHA384", "HIGH RSA kRSA aRSA AES AES256 AESGCM SHA384 TLSv1.2"},
	{tls.TLS_RSA_WITH_AES_128_CBC_SHA, "AES128-SHA", "HIGH RSA kRSA aRSA AES AES128 SHA SHA1 SSLv3 TLSv1"},
	{tls.TLS_RSA_WITH_AES_256_CBC_SHA, "AES256-SHA", "HIGH RSA kRSA aRSA AES AES256 SHA SHA1 SSLv3 TLSv1"},
	{tls.TLS_RSA_WITH_AES_128_CBC_SHA256, "AES128-SHA256", "HIGH RSA kRSA aRSA AES AES128 SHA256 TLSv1.2"},
	{tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA, "ECDHE-RSA-DES-CBC3-SHA", "MEDIUM ECDHE EECDH kECDHE kEECDH aRSA 3DES SHA SHA1 SSLv3 TLSv1"},
	{tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, "DES-CBC3-SHA", "MEDIUM RSA kRSA aRSA 3DES SHA SHA1 SSLv3 TLSv1"},
	{tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA, "ECDHE-ECDSA-RC4-SHA", "MEDIUM ECDHE EECDH kECDHE kEECDH ECDSA aECDSA RC4 SHA SHA1 SSLv3 TLSv1"},
	{tls.TLS_ECDHE_RSA_WITH_RC4_128_SHA, "ECDHE-RSA-RC4-SHA", "MEDIUM ECDHE EECDH kECDHE kEECDH aRSA RC4 SHA SHA1 SSLv3 TLSv1"},
	{tls.TLS_RSA_WITH_RC4_128_SHA, "RC4-SHA", "MEDIUM RSA kRSA aRSA RC4 SHA SHA1 SSLv3 TLSv1"},
}

// foreignWords are the parts of OpenSSL names and groups that crypto/tls has nothing for. A list may well name them:
// common lists cover many libraries, and OpenSSL passes over what it was built without.
var foreignWords = strings.Fields("DHE EDH DH ADH AECDH kDHE kEDH kDH kDHd kDHr kECDH kECDHe kECDHr ECDH DSS aDSS aDH aECDH " +
	"PSK kPSK aPSK SRP kSRP aSRP GOST kGOST aGOST GOST94 GOST89MAC GOST2001 GOST2012 GOST12 KRB5 kKRB5 aKRB5 FZA " +
	"RSAPSK kRSAPSK ECDHEPSK kECDHEPSK DHEPSK kDHEPSK LOW EXP EXPORT EXPORT40 EXPORT56 EXPORT1024 EXP1024 NULL eNULL aNULL DES DES40 " +
	"RC2 IDEA SEED CAMELLIA CAMELLIA128 CAMELLIA256 ARIA ARIA128 ARIA256 ARIAGCM AESCCM AESCCM8 CCM CCM8 MD5 " +
	"SSLv2 SUITEB128 SUITEB128ONLY SUITEB192 COMPLEMENTOFDEFAULT COMPLEMENTOFALL CBC CBC3 GCM POLY1305 WITH TLS " +
	"56 64 128 256 8 40")

// parseCiphers reads an OpenSSL cipher list. It gives the ids of the suites for TLS 1.2 and older that remain, nil for
// an empty list. only13 says that the list names TLS 1.3 suites and no others; the choice among those is crypto/tls's.
//
// Names (OpenSSL's and IANA's) and groups are understood, joined by "+" for suites in all of them, with the prefixes
// "!" (never), "-" (not unless named later) and "+" (order, without effect) and the words "@STRENGTH" and
// "@SECLEVEL=n" (without effect), separated by colons, commas or spaces. What OpenSSL has and crypto/tls has not is
// passed over. An error tells of a word that neither knows, and of a list that leaves nothing.
func parseCiphers(list string) (ids []uint16, only13 bool, err error) {
	if strings.TrimSpace(list) == "" {
		return nil, false, nil
	}
	banned := make(map[uint16]bool)
	enabled := make(map[uint16]bool)
	some13 := false
	for word := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ':' || r == ',' || r == ' ' || r == ';' }) {
		if strings.HasPrefix(word, "@STRENGTH") || strings.HasPrefix(word, "@SECLEVEL=") {
			continue
		}
		op := byte(0)
		if strings.IndexByte("!-+", word[0]) >= 0 {
			op, word = word[0], word[1:]
		}
		if is13(word) {
			some13 = some13 || op == 0
			continue
		}
		match, known := matchSuites(word)
		if !known {
			return nil, false, fmt.Errorf("%q is no cipher that OpenSSL knows", word)
		}
		for _, s := range match {
			switch op {
			case '!':
				banned[s.id] = true
				delete(enabled, s.id)
			case '-':
				delete(enabled, s.id)
			case 0:
				if !banned[s.id] {
					enabled[s.id] = true
				}
			}
		}
	}
	for _, s := range suites {
		if enabled[s.id] {
			ids = append(ids, s.id)
		}
	}
	if len(ids) == 0 && !some13 {
		return nil, false, errors.New("none of these ciphers is available; there are ECDHE and RSA key exchange with AES128, AES256, CHACHA20, 3DES and RC4")
	}
	return ids, len(ids) == 0, nil
}

func is13(word string) bool {
	switch word {
	case "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256",
		"TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_8_SHA256", "TLSv1.3":
		return true
	}
	return false
}

// matchSuites gives the suites that a word stands for, and whether the word means something at all.
func matchSuites(word string) (match []suite, known bool) {
	for _, s := range suites {
		if s.name == word || tls.CipherSuiteName(s.id) == word {
			return []suite{s}, true
		}
	}
	switch word {
	case "ALL":
		return suites, true
	case "DEFAULT":
		// What crypto/tls would offer by itself.
		for _, s := range suites {
			if slices.ContainsFunc(tls.CipherSuites(), func(c *tls.CipherSuite) bool { return c.ID == s.id }) {
				match = append(match, s)
			}
		}
		return match, true
	}
	match, known = suites, true
	for part := range strings.SplitSeq(word, "+") {
		var both []suite
		found := false
		for _, s := range suites {
			if hasWord(s.groups, part) {
				found = true
				if slices.ContainsFunc(match, func(m suite) bool { return m.id == s.id }) {
					both = append(both, s)
				}
			}
		}
		known = known && (found || foreign(part))
		match = both
	}
	return match, known
}

// foreign tells names of OpenSSL's that crypto/tls has no suite for from slips of the pen, by their parts.
func foreign(name string) bool {
	if name == "" {
		return false
	}
	for part := range strings.FieldsFuncSeq(name, func(r rune) bool { return r == '-' || r == '_' }) {
		if !slices.Contains(foreignWords, part) && !slices.ContainsFunc(suites, func(s suite) bool { return hasWord(s.groups, part) }) {
			return false
		}
	}
	return true
}

func hasWord(words, word string) bool {
	for w := range strings.FieldsSeq(words) {
		if w == word {
			return true
		}
	}
	return false
}
