;; Imports a hostcall that writes through a pointer, but has no memory to point into.
(module
  (import "fastly_http_resp" "new" (func $resp_new (param i32) (result i32)))
  (func $_start (export "_start") (drop (call $resp_new (i32.const 0)))))
