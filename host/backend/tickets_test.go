package backend

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// With TLS 1.3, an origin may send session tickets as soon as the handshake is over: before the first request.
func TestANewConnectionOnWhichTheOriginHasSentOfItsOwnIsGood(t *testing.T) {
	cert := httptest.NewUnstartedServer(http.NotFoundHandler())
	cert.StartTLS()
	defer cert.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		if tls.Server(nc, &tls.Config{Certificates: cert.TLS.Certificates}).Handshake() == nil {
			nc.Write([]byte{23, 3, 3}) // the beginning of a message, the rest of which is on its way
		}
	}()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	raw := &rawConn{Conn: nc}
	secure := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	if err := secure.Handshake(); err != nil {
		t.Fatal(err)
	}
	for range 1000 { // where the system has no peek, it is not noticed
		if pending, err := peek(nc); err != nil {
			t.Fatal(err)
		} else if pending {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err := newH1Client(secure, raw, 1<<16).Reserve(); err != nil {
		t.Error(err)
	}
}
