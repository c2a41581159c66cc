package manifest

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

const wantCA = "a certificate in PEM form, { file = PATH }, { value = PEM }, or a list of these"

// caCertificates reads the one certificate, or the list, that replaces the system's roots.
func (r *reader) caCertificates(b *Backend, v *value) {
	if v.kind != kindList {
		r.caCertificate(b, v)
		return
	}
	for _, item := range v.items {
		r.caCertificate(b, item)
	}
}

func (r *reader) caCertificate(b *Backend, v *value) {
	switch v.kind {
	case kindString:
		r.pemText(b, v)
	case kindTable:
		if file := v.field("file"); file != nil {
			for _, item := range v.items {
				if item != file {
					r.report(item.keyOff, item.path(), displayKey(item.name)+" cannot stand beside file", "one of file and value")
				}
			}
			if src, path, ok := r.file(file, maxPEMFile); ok {
				r.certificates(b, file, path+": ", src)
			}
			return
		}
		r.table(v, warn, required("value", wantCA, func(v *value) {
			if r.is(v, kindString) {
				r.pemText(b, v)
			}
		}), key("file", nil))
	default:
		r.fail(v, wantCA, "this is %s", v.kind)
	}
}

func (r *reader) pemText(b *Backend, v *value) {
	if strings.TrimSpace(v.text) == "" {
		r.fail(v, wantCA, "blank")
		return
	}
	r.certificates(b, v, "", []byte(v.text))
}

func (r *reader) certificates(b *Backend, v *value, where string, src []byte) {
	list, err := parseCertificates(src)
	if err != nil {
		r.fail(v, "", "%s%s", where, err)
		return
	}
	b.CACertificates = append(b.CACertificates, list...)
}

// parseCertificates gives all certificates of a PEM text, at least one. Other blocks and the text between
// blocks are skipped, as everywhere.
func parseCertificates(src []byte) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for {
		var block *pem.Block
		block, src = pem.Decode(src)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate number %d: %w", len(list)+1, err)
		}
		list = append(list, cert)
	}
	if len(list) == 0 {
		return nil, errors.New(`no certificate in PEM form ("-----BEGIN CERTIFICATE-----") found`)
	}
	return list, nil
}

// clientCertificate reads the certificate and key for mutual TLS. Where inline text and file are both
// given, the file counts.
func (r *reader) clientCertificate(b *Backend, v *value) {
	var certificate, privateKey []byte
	whole := true
	inline := func(to *[]byte) func(*value) {
		return func(v *value) {
			if !r.is(v, kindString) {
				whole = false
				return
			}
			*to = []byte(v.text)
		}
	}
	file := func(to *[]byte) func(*value) {
		return func(v *value) {
			src, _, ok := r.file(v, maxPEMFile)
			if !ok {
				whole = false
				return
			}
			*to = src
		}
	}
	if !r.table(v, warn,
		key("certificate", inline(&certificate)), // the files come second and so win
		key("certificate_file", file(&certificate)),
		key("key", inline(&privateKey)),
		key("key_file", file(&privateKey)),
	) || !whole {
		return
	}
	if v.field("certificate") == nil && v.field("certificate_file") == nil {
		r.fail(v, "certificate (PEM) or certificate_file (path)", "the certificate is missing")
		return
	}
	if v.field("key") == nil && v.field("key_file") == nil {
		r.fail(v, "key (PEM) or key_file (path)", "the key is missing")
		return
	}
	if _, err := parseCertificates(certificate); err != nil {
		r.fail(v, "", "certificate: %s", err)
		return
	}
	if !hasPrivateKey(privateKey) {
		r.fail(v, "an unencrypted RSA, EC or PKCS #8 key in PEM form", "no private key found")
		return
	}
	pair, err := tls.X509KeyPair(certificate, privateKey)
	if err == nil && pair.Leaf == nil { // when the program runs with GODEBUG=x509keypairleaf=0
		pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0])
	}
	if err != nil {
		// The library's texts tell what is wrong and never quote the key.
		r.fail(v, "a certificate and the unencrypted RSA, EC or PKCS #8 key that belongs to it", "%s", strings.TrimPrefix(err.Error(), "tls: "))
		return
	}
	b.ClientCertificate = newClientCertificate(pair)
}

// hasPrivateKey tells whether the first key in a PEM text, the one that counts, is of a readable kind.
func hasPrivateKey(src []byte) bool {
	for {
		var block *pem.Block
		block, src = pem.Decode(src)
		switch {
		case block == nil:
			return false
		case block.Type == "PRIVATE KEY", block.Type == "RSA PRIVATE KEY", block.Type == "EC PRIVATE KEY":
			return block.Headers["DEK-Info"] == "" // else encrypted
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			return false
		}
	}
}
