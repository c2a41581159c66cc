package wasi

import "github.com/edgewasm/wasmedge/host/engine"

// noFile is every function that needs a file or a directory: fd_prestat_get, fd_readdir, fd_sync, path_open and so on.
// No descriptor is one, so each answers EBADF, for the standard streams too (as wasmtime does), before it looks at any
// other argument. A guest learns from EBADF of fd_prestat_get(3) that there are no directories.
func noFile(*System, *engine.Caller, []uint64) (Errno, error) { return EBADF, nil }

// noSocket is sock_accept, sock_recv, sock_send and sock_shutdown.
//
// EBADF: no such descriptor. ENOTSOCK: every other, for none is a socket.
func noSocket(s *System, _ *engine.Caller, a []uint64) (Errno, error) {
	if _, _, e := s.lookup(uint32(a[0])); e != ESUCCESS {
		return e, nil
	}
	return ENOTSOCK, nil
}
