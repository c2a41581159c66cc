;; Declares a table of ten million elements, more than any sandbox is given.
(module
  (memory (export "memory") 1)
  (table 10000000 funcref)
  (func $_start (export "_start")))
