;; 64-bit memory.
(module (memory (export "memory") i64 1) (func (export "run") (drop (i32.load (i64.const 0)))))
