// Package wasmtime is the production engine: wasmtime through a C shim of its own.
//
// Instances come from a pool with copy-on-write memory and cost microseconds. Each guest runs on a fiber, so
// that a hostcall which waits costs a goroutine and no thread, and so that a guest which computes for long is
// looked at every Config.Tick, however it was written.
//
// # Stacks
//
// Three kinds of stack take part. A Go goroutine calls we_poll, which runs on the stack of its OS thread;
// wasmtime switches from there to the fiber on which the guest runs. A hostcall arrives on the fiber:
//
//   - One that does not block is answered by Go at once. Go throws when it is called on a stack that is not its
//     thread's, so the shim moves the stack pointer back onto the thread's stack, below the frames of we_poll, calls
//     Go there, and moves it back. The thread cannot change meanwhile: a goroutine in a call from C is
//     locked to its thread.
//   - One that may block is run like that only if it says that it is Ready. Otherwise the fiber is suspended: we_poll
//     returns to Go, the goroutine runs the hostcall like any Go code, then polls again, perhaps on
//     another thread. wasmtime keeps nothing about a suspended fiber in the thread.
//
// No Go pointer is ever kept by C: an instance is known there by a number, and all that C keeps about it is C memory.
//
// # Signals
//
// wasmtime turns out-of-bounds accesses, divisions by zero and the like into traps by signal handlers, which pass on
// what is not theirs to Go's. Go's handlers run on the alternate signal stack, so that preemption
// signals may arrive on any of the three stacks.
//
// # Builds
//
// The engine needs cgo and is there on Linux and macOS, amd64 and arm64. Elsewhere Available is false and New
// says so. The library comes with the Go module that the blank import in link.go names; the shim
// keeps to the stable C API, so that a newer version is a change of that line.
package wasmtime

import "errors"

// ErrUnavailable is what New returns in a build without this engine.
var ErrUnavailable = errors.New("wasmtime: not in this build: it needs cgo (CGO_ENABLED=1 and a C compiler) on Linux or macOS, amd64 or arm64")
