// Command goguest is a guest that looks at everything the operating system gives it.
package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "sleep" {
		fmt.Println("asleep")
		time.Sleep(time.Hour)
	}
	fmt.Printf("args %q\n", os.Args)
	fmt.Printf("env %q\n", os.Environ())

	start := time.Now()
	fmt.Println("year is plausible:", start.Year() > 2020 && start.Year() < 2200)
	time.Sleep(5 * time.Millisecond)
	fmt.Println("slept long enough:", time.Since(start) >= 5*time.Millisecond)

	var a, b [32]byte
	rand.Read(a[:])
	rand.Read(b[:])
	fmt.Println("random differs:", a != b && !bytes.Equal(a[:], make([]byte, 32)))

	var wg sync.WaitGroup
	woken := make(chan int, 3)
	for _, n := range []int{3, 1, 2} {
		wg.Go(func() {
			time.Sleep(time.Duration(n) * 60 * time.Millisecond)
			woken <- n
		})
	}
	wg.Wait()
	fmt.Println("woken in order:", <-woken, <-woken, <-woken)
	select {
	case <-time.After(time.Millisecond):
		fmt.Println("timer fired")
	case <-make(chan int):
	}

	in, err := io.ReadAll(os.Stdin)
	fmt.Printf("stdin %q %v\n", in, err)
	_, err = os.Open("/etc/passwd")
	fmt.Println("open:", errors.Is(err, fs.ErrNotExist), err != nil)
	fmt.Fprint(os.Stderr, "going\n")
	os.Exit(7)
}
