;; Returns without a response.
(module
  (memory (export "memory") 1)
  (func $_start (export "_start")))
