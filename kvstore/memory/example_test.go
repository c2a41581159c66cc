package memory_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"time"

	"github.com/edgewasm/wasmedge/kvstore"
	"github.com/edgewasm/wasmedge/kvstore/memory"
)

func Example() {
	ctx := context.Background()
	stores := memory.New(memory.Options{})
	defer stores.Close()
	users, err := stores.Create(ctx, "users")
	if err != nil {
		log.Fatal(err)
	}
	_, err = users.Insert(ctx, "ada", strings.NewReader("Ada Lovelace"), kvstore.InsertOptions{
		Metadata: []byte("en"),
		TTL:      24 * time.Hour,
	})
	if err != nil {
		log.Fatal(err)
	}
	v, err := users.Lookup(ctx, "ada")
	if err != nil {
		log.Fatal(err)
	}
	defer v.Body.Close()
	fmt.Printf("%d bytes, metadata %s: ", v.Body.Size(), v.Metadata)
	if _, err := io.Copy(os.Stdout, v.Body); err != nil {
		log.Fatal(err)
	}
	// Output: 12 bytes, metadata en: Ada Lovelace
}

// Two writers change the same key; the one that comes second notices, and starts again from what the first left.
func Example_compareAndSwap() {
	ctx := context.Background()
	stores := memory.New(memory.Options{})
	defer stores.Close()
	st, _ := stores.Create(ctx, "counters")
	generation, _ := st.Insert(ctx, "hits", strings.NewReader("1"), kvstore.InsertOptions{})
	swap := kvstore.InsertOptions{HasIfGeneration: true, IfGeneration: generation}
	_, err := st.Insert(ctx, "hits", strings.NewReader("2"), swap)
	fmt.Println("first:", err)
	_, err = st.Insert(ctx, "hits", strings.NewReader("2"), swap)
	fmt.Println("second is too late:", errors.Is(err, kvstore.ErrPrecondition))
	// Output:
	// first: <nil>
	// second is too late: true
}

func ExampleStores_listing() {
	ctx := context.Background()
	stores := memory.New(memory.Options{})
	defer stores.Close()
	st, _ := stores.Create(ctx, "files")
	for _, key := range []string{"img/c", "img/a", "css/x", "img/b"} {
		_, _ = st.Insert(ctx, key, nil, kvstore.InsertOptions{})
	}
	o := kvstore.ListOptions{Prefix: "img/", Limit: 2}
	for {
		page, err := st.List(ctx, o)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(page.Keys)
		if o.Cursor = page.NextCursor; o.Cursor == "" {
			break
		}
	}
	// Output:
	// [img/a img/b]
	// [img/c]
}
