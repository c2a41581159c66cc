;; Calls itself until the stack is gone; the multiplication after the call keeps it from being a tail call.
(module
  (memory (export "memory") 1)
  (func $deeper (param $n i64) (result i64)
    (i64.mul (i64.add (local.get $n) (i64.const 1))
             (call $deeper (i64.add (local.get $n) (i64.const 1)))))
  (func $_start (export "_start") (drop (call $deeper (i64.const 1)))))
