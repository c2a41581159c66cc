//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// stopSignals close the port. SIGHUP is what test harnesses send to the process group.
var stopSignals = []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}

// onReopen calls f at each SIGUSR1 until the function that it gives is called.
func onReopen(f func()) (stop func()) {
	usr1 := make(chan os.Signal, 1)
	done := make(chan struct{})
	signal.Notify(usr1, syscall.SIGUSR1)
	go func() {
		for {
			select {
			case <-usr1:
				f()
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(usr1)
		close(done)
	}
}
