;; Needs 32 pages (2 MiB) of memory from the start.
(module (memory (export "memory") 32) (func (export "run")))
