package wire_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/edgewasm/wasmedge/host/wire"
)

func ExampleServer() {
	ctx, stop := context.WithCancel(context.Background())
	s := &wire.Server{
		Addr: "127.0.0.1:0",
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			names, ok := wire.FromRequest(r).OriginalHeaderNames()
			fmt.Fprintln(w, names, ok)
		}),
		Ready: func(addr net.Addr) {
			go func() {
				defer stop()
				c, err := net.Dial("tcp", addr.String())
				if err != nil {
					fmt.Println(err)
					return
				}
				defer c.Close()
				io.WriteString(c, "GET / HTTP/1.0\r\nuser-AGENT: me\r\nx-Y: z\r\n\r\n")
				b, _ := io.ReadAll(c)
				fmt.Printf("%s", b[len(b)-len("[user-AGENT x-Y] true\n"):])
			}()
		},
	}
	if err := s.ListenAndServe(ctx); err != nil {
		fmt.Println(err)
	}
	// Output: [user-AGENT x-Y] true
}
