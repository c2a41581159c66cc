//go:build linux

package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
)

// native is the handler that the guests are compared with: the same answers from plain Go on net/http.
func native() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Guest", "native/hello")
		h["Content-Type"] = nil // guests set none either, and net/http would guess one
		io.WriteString(w, "hello from go\n")
	})
	mux.HandleFunc("/transform", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var in input
		if err == nil {
			err = json.Unmarshal(body, &in)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer(w, transform(in))
	})
	mux.HandleFunc("/primes", func(w http.ResponseWriter, r *http.Request) {
		count := 0
		for n := uint32(2); n < 30_000; n++ {
			if isPrime(n) {
				count++
			}
		}
		answer(w, map[string]int{"primes": count})
	})
	return mux
}

func answer(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain structs and integers
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(b)
}

type input struct {
	Orders []inputOrder `json:"orders"`
}

type inputOrder struct {
	ID       int      `json:"id"`
	Customer customer `json:"customer"`
	Lines    []line   `json:"lines"`
	Note     string   `json:"note"`
}

type customer struct {
	Name    string `json:"name"`
	Country string `json:"country"`
}

type line struct {
	SKU      string `json:"sku"`
	Quantity int    `json:"quantity"`
	Price    int    `json:"price"` // cents
}

type summary struct {
	Count  int            `json:"count"`
	Total  int            `json:"total"`
	Orders []summaryOrder `json:"orders"`
}

type summaryOrder struct {
	ID       int    `json:"id"`
	Customer string `json:"customer"`
	Total    int    `json:"total"`
}

func transform(in input) summary {
	out := summary{Count: len(in.Orders), Orders: make([]summaryOrder, 0, len(in.Orders))}
	for _, o := range in.Orders {
		total := 0
		for _, l := range o.Lines {
			total += l.Quantity * l.Price
		}
		out.Total += total
		out.Orders = append(out.Orders, summaryOrder{o.ID, strings.ToUpper(o.Customer.Name), total})
	}
	return out
}

func isPrime(n uint32) bool {
	for d := uint32(2); d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return true
}

// orders is the body of /transform, 10 kB of JSON.
func orders() []byte {
	var in input
	names := []string{"Ada Lovelace", "Grace Hopper", "Alan Turing", "Barbara Liskov", "Edsger Dijkstra"}
	for i := range 40 {
		o := inputOrder{ID: 1000 + i, Customer: customer{names[i%len(names)], "NZ"}, Note: "leave it at the door, please"}
		for j := range 3 {
			o.Lines = append(o.Lines, line{SKU: "AB-" + strings.Repeat(string(rune('0'+j)), 4), Quantity: 1 + (i+j)%7, Price: 199 + 100*j + i})
		}
		in.Orders = append(in.Orders, o)
	}
	b, err := json.Marshal(in)
	if err != nil {
		panic(err) // plain structs and integers
	}
	return b
}
