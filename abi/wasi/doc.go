// Package wasi gives guests WASI preview 1: all 46 functions of wasi_snapshot_preview1, for a sandbox that has
// standard streams, arguments, an environment, clocks and randomness, and no files, directories or sockets.
//
// Behaviour follows the preview 1 interface description; where that leaves a choice, it follows wasmtime's
// implementation, which is what the original platform runs. Three differences are deliberate:
//   - A pointer outside linear memory gives EFAULT, and a misaligned one or an array whose size overflows 32 bits
//     gives EINVAL, where wasmtime ends the guest. Nothing has been read, written or waited for by then.
//   - The CPU-time clocks work; they count the sandbox's own computing time.
//   - The flags and rights of the three streams can be changed, and proc_raise ends the guest.
//
// Nothing here knows which engine runs or what the rest of the platform does. The functions share no state but the
// System of their sandbox, so two sandboxes cannot meet here. clock_time_get, random_get, environ_get, fd_write of up
// to 4 KiB and poll_oneoff do not allocate in the steady state.
package wasi
