package manifest_test

import (
	"fmt"

	"github.com/edgewasm/wasmedge/host/manifest"
)

func ExampleParse() {
	m, err := manifest.Parse("fastly.toml", []byte(`
name = "hello"
[local_server.backends.origin]
url = "https://example.com/api"
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	b := m.LocalServer.Backends[0]
	fmt.Println(b.Name, b.TLS, b.Host, b.Port, b.PathPrefix)
	// Output: origin true example.com 443 /api
}

func ExampleParse_errors() {
	_, err := manifest.Parse("fastly.toml", []byte(`
[local_server.backends.origin]
url = "example.com:80"
helth = "healthy"
[local_server.kv_stores]
pages = [ { key = "home" } ]
`))
	for _, problem := range err.(manifest.Errors) {
		fmt.Printf("line %d: %s: %s\n", problem.Pos.Line, problem.Key, problem.Text)
	}
	// Output:
	// line 3: local_server.backends.origin.url: the URL has no scheme
	// line 4: local_server.backends.origin.helth: unrecognized key helth (did you mean health?)
	// line 6: local_server.kv_stores.pages[0]: the item has no value
}
