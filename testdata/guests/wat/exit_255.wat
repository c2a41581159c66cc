;; Exits with code 255, without a response.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func $_start (export "_start") (call $exit (i32.const 255)) (unreachable)))
