;; Grows its table element by element until growing is refused; then traps.
(module
  (memory (export "memory") 1)
  (table $t 1 funcref)
  (func $_start (export "_start")
    (loop $again
      (br_if $again (i32.ne (table.grow $t (ref.null func) (i32.const 1)) (i32.const -1)))
      (unreachable))))
