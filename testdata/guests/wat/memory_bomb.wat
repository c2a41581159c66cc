;; Grows its memory page by page and writes to each page, until growing is refused; then traps.
(module
  (memory (export "memory") 1)
  (func $_start (export "_start") (local $old i32)
    (loop $again
      (local.set $old (memory.grow (i32.const 1)))
      (if (i32.eq (local.get $old) (i32.const -1)) (then (unreachable)))
      (i32.store (i32.shl (local.get $old) (i32.const 16)) (i32.const 1))
      (br $again))))
