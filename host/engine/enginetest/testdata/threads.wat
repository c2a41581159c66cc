;; Atomics on shared memory.
(module (memory (export "memory") 1 2 shared) (func (export "run") (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))))
