package xconnect_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"golang.org/x/net/http2"

	_ "github.com/edgewasm/wasmedge/host/wire/xconnect"
)

func TestServersOfThisProcessOfferExtendedConnect(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	defer server.Close()
	nc, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(nc, http2.ClientPreface)
	var settings bytes.Buffer
	http2.NewFramer(&settings, nil).WriteSettings()
	nc.Write(settings.Bytes())
	frame, err := http2.NewFramer(nil, nc).ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	first, ok := frame.(*http2.SettingsFrame)
	if !ok {
		t.Fatalf("the first frame is %v", frame)
	}
	if v, ok := first.Value(http2.SettingEnableConnectProtocol); !ok || v != 1 {
		t.Errorf("the server's settings are %v, want ENABLE_CONNECT_PROTOCOL = 1", first)
	}
}
