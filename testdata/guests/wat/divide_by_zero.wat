;; Traps by an integer division by zero, in a function with a name.
(module
  (memory (export "memory") 1)
  (func $divide (param $by i32) (result i32) (i32.div_s (i32.const 1) (local.get $by)))
  (func $_start (export "_start") (drop (call $divide (i32.const 0)))))
