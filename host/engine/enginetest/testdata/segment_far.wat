;; An active data segment outside memory: instantiating traps.
(module (memory (export "memory") 1) (data (i32.const 65530) "too far out") (func (export "run")))
