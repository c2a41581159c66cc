;; Its start function traps, so that nothing of it ever runs.
(module
  (memory (export "memory") 1)
  (func $init (unreachable))
  (start $init)
  (func $_start (export "_start")))
