;; Does in its start function: answers with "n\n", asks for another request, and looks with is_ready for it before it waits, for as long as there are
;; any.
(module
  (import "fastly_http_resp" "new" (func $resp_new (param i32) (result i32)))
  (import "fastly_http_resp" "send_downstream" (func $send (param i32 i32 i32) (result i32)))
  (import "fastly_http_body" "new" (func $body_new (param i32) (result i32)))
  (import "fastly_http_body" "write" (func $write (param i32 i32 i32 i32 i32) (result i32)))
  (import "fastly_http_downstream" "next_request" (func $next (param i32 i32 i32) (result i32)))
  (import "fastly_http_downstream" "next_request_wait" (func $wait (param i32 i32 i32) (result i32)))
  (import "fastly_async_io" "is_ready" (func $is_ready (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "0\n")
  (func (export "_start"))
  (start $main)
  (func $main
    (loop $more
      (i32.store8 (i32.const 64) (i32.add (i32.load8_u (i32.const 64)) (i32.const 1)))
      (drop (call $resp_new (i32.const 0)))
      (drop (call $body_new (i32.const 4)))
      (drop (call $write (i32.load (i32.const 4)) (i32.const 64) (i32.const 2) (i32.const 0) (i32.const 8)))
      (drop (call $send (i32.load (i32.const 0)) (i32.load (i32.const 4)) (i32.const 0)))
      (drop (call $next (i32.const 0) (i32.const 0) (i32.const 12)))
      (if (call $is_ready (i32.load (i32.const 12)) (i32.const 16)) (then (unreachable)))
      (br_if $more (i32.eqz (call $wait (i32.load (i32.const 12)) (i32.const 20) (i32.const 24)))))))
