package wasi

import "github.com/edgewasm/wasmedge/host/engine"

// ModuleName is the import module under which guests find these functions.
const ModuleName = "wasi_snapshot_preview1"

// function is a row of the table. The arguments are read from a slice of at least as many slots as params has letters.
type function struct {
	name   string
	params string // one letter each: i is an i32, I an i64
	fn     func(s *System, c *engine.Caller, a []uint64) (Errno, error)

	// ready is set on functions that may wait: whether this call would not.
	ready func(s *System, c *engine.Caller, a []uint64) bool
	// ends marks proc_exit, which has no result.
	ends bool
}

var functions = []function{
	{name: "args_get", params: "ii", fn: argsGet},
	{name: "args_sizes_get", params: "ii", fn: argsSizesGet},
	{name: "clock_res_get", params: "ii", fn: clockResGet},
	{name: "clock_time_get", params: "iIi", fn: clockTimeGet},
	{name: "environ_get", params: "ii", fn: environGet},
	{name: "environ_sizes_get", params: "ii", fn: environSizesGet},
	{name: "fd_advise", params: "iIIi", fn: noFile},
	{name: "fd_allocate", params: "iII", fn: noFile},
	{name: "fd_close", params: "i", fn: fdClose},
	{name: "fd_datasync", params: "i", fn: noFile},
	{name: "fd_fdstat_get", params: "ii", fn: fdFdstatGet},
	{name: "fd_fdstat_set_flags", params: "ii", fn: fdFdstatSetFlags},
	{name: "fd_fdstat_set_rights", params: "iII", fn: fdFdstatSetRights},
	{name: "fd_filestat_get", params: "ii", fn: fdFilestatGet},
	{name: "fd_filestat_set_size", params: "iI", fn: noFile},
	{name: "fd_filestat_set_times", params: "iIIi", fn: noFile},
	{name: "fd_pread", params: "iiiIi", fn: fdPread},
	{name: "fd_prestat_dir_name", params: "iii", fn: fdPrestatDirName},
	{name: "fd_prestat_get", params: "ii", fn: noFile},
	{name: "fd_pwrite", params: "iiiIi", fn: fdPwrite},
	{name: "fd_read", params: "iiii", fn: fdRead, ready: fdReadReady},
	{name: "fd_readdir", params: "iiiIi", fn: noFile},
	{name: "fd_renumber", params: "ii", fn: fdRenumber},
	{name: "fd_seek", params: "iIii", fn: fdSeek},
	{name: "fd_sync", params: "i", fn: noFile},
	{name: "fd_tell", params: "ii", fn: fdTell},
	{name: "fd_write", params: "iiii", fn: fdWrite, ready: fdWriteReady},
	{name: "path_create_directory", params: "iii", fn: noFile},
	{name: "path_filestat_get", params: "iiiii", fn: noFile},
	{name: "path_filestat_set_times", params: "iiiiIIi", fn: noFile},
	{name: "path_link", params: "iiiiiii", fn: noFile},
	{name: "path_open", params: "iiiiiIIii", fn: noFile},
	{name: "path_readlink", params: "iiiiii", fn: noFile},
	{name: "path_remove_directory", params: "iii", fn: noFile},
	{name: "path_rename", params: "iiiiii", fn: noFile},
	{name: "path_symlink", params: "iiiii", fn: noFile},
	{name: "path_unlink_file", params: "iii", fn: noFile},
	{name: "poll_oneoff", params: "iiii", fn: pollOneoff, ready: pollOneoffReady},
	{name: "proc_exit", params: "i", fn: procExit, ends: true},
	{name: "proc_raise", params: "i", fn: procRaise},
	{name: "random_get", params: "ii", fn: randomGet},
	{name: "sched_yield", params: "", fn: schedYield},
	{name: "sock_accept", params: "iii", fn: noSocket},
	{name: "sock_recv", params: "iiiiii", fn: noSocket},
	{name: "sock_send", params: "iiiii", fn: noSocket},
	{name: "sock_shutdown", params: "ii", fn: noSocket},
}

// Hostcalls gives the table of all functions of wasi_snapshot_preview1. of finds the System in what the guest was
// instantiated with; it is called once per hostcall, must not return nil and should not allocate.
func Hostcalls(of func(state any) *System) []engine.Hostcall {
	calls := make([]engine.Hostcall, 0, len(functions))
	for _, f := range functions {
		call := engine.Hostcall{Module: ModuleName, Name: f.name}
		for _, p := range f.params {
			t := engine.I32
			if p == 'I' {
				t = engine.I64
			}
			call.Type.Params = append(call.Type.Params, t)
		}
		fn := f.fn
		if f.ends {
			call.Fn = func(c *engine.Caller, stack []uint64) error {
				_, err := fn(of(c.State), c, stack)
				return err
			}
		} else {
			call.Type.Results = []engine.ValueType{engine.I32}
			call.Fn = func(c *engine.Caller, stack []uint64) error {
				errno, err := fn(of(c.State), c, stack)
				if err == nil {
					stack[0] = uint64(errno)
				}
				return err
			}
		}
		if ready := f.ready; ready != nil {
			call.MayBlock = true
			call.Ready = func(c *engine.Caller, stack []uint64) bool { return ready(of(c.State), c, stack) }
		}
		calls = append(calls, call)
	}
	return calls
}
