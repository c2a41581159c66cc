// Package abi is what a guest sees: the hostcalls of the Fastly Compute guest ABI, one file per guest module
// (http_req.go, log.go, ...), and the sandbox that holds a guest's handles.
//
// A hostcall decodes its arguments with the helpers of decode.go, asks the domain for the work, and answers a
// Status. Whatever a guest passes, pointers, lengths, handles, enum values, ends in a status and never in a
// panic or in a write outside the ranges it named. Nothing here knows which engine runs; what abi needs from
// the rest of the host it declares as small interfaces, which package host satisfies.
//
// A Sandbox belongs to one guest run and is not safe for concurrent use; bodies that were handed to the other
// side of a connection are.
//
//go:generate go run ./internal/abidoc ../docs/ABI.md
package abi
