;; A valid module without an entry point.
(module
  (memory (export "memory") 1)
  (func (export "handle")))
