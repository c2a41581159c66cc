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
// # Resets
//
// An instance that is closed is set back to what it was before it ran, if all its state can be, and parked with its
// template: the next Instantiate takes it, with its store, fiber stack and the pages that it has written to, so that
// a guest's steady state is free of page faults. Close does that work, after the response.
//
// When a module is compiled, wasm.State is what can change in its instances: memory and mutable globals; those
// that the guest keeps to itself are exported under reserved names, which Exports and Call do not show. Modules with
// more state than that (changing tables, dropped segments, start functions, references) are taken down and
// made anew as ever, and so are an instance that grew its memory by more than 4 MiB, one that wrote to more than 4 MiB
// over its life, and one in which a hostcall panicked. How a guest ended does not matter otherwise. Memory that grew by less stays,
// as zeros; the guest keeps its own account of the size (wasm.Module.KeepSize, and docs/RATIONALE.md for what differs).
//
// Written pages are asked of the kernel (PAGEMAP_SCAN of Linux 6.7, or /proc/self/pagemap); where it does not tell, and on
// macOS, nothing is parked. A page's first content is learned when it is first found written: it is dropped, the
// module's image shows again, and a copy is kept for all instances of the template. So a template costs no more than the pages
// that its guests write to.
//
// Parked instances count as instances. A full pool evicts the one parked longest; every two seconds half of what
// a template has not needed is taken down; all together hold at most 256 MiB. engine.Config.NoReset turns parking off.
//
// Of instances that are taken down, a template learns which pages most of them wrote to. If those lie together well enough,
// new instances are given them in a few system calls, which saves the entry to the kernel for each page.
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
