//go:build !unix

package main

import "os"

var stopSignals = []os.Signal{os.Interrupt}

// onReopen has no signal to wait for here.
func onReopen(func()) (stop func()) { return func() {} }
