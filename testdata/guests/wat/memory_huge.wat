;; Declares 4 GiB as its smallest memory, more than any sandbox is given.
(module
  (memory (export "memory") 65536)
  (func $_start (export "_start")))
