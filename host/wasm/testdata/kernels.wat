;; Loops and calls of several shapes, to measure what interruption costs. Each takes a number of turns and gives
;; a checksum. Built with `wat2wasm --debug-names`.
(module
  (memory (export "memory") 2)
  (global $seed (mut i32) (i32.const 1))

  ;; nothing but counting
  (func (export "count") (param $n i64) (result i64) (local $i i64)
    (loop $l
      (local.set $i (i64.add (local.get $i) (i64.const 1)))
      (br_if $l (i64.lt_u (local.get $i) (local.get $n))))
    (local.get $i))

  ;; a sum with a multiplication
  (func (export "sum") (param $n i64) (result i64) (local $i i64) (local $s i64)
    (block $out
      (loop $l
        (br_if $out (i64.ge_u (local.get $i) (local.get $n)))
        (local.set $s (i64.add (local.get $s) (i64.mul (local.get $i) (local.get $i))))
        (local.set $i (i64.add (local.get $i) (i64.const 1)))
        (br $l)))
    (local.get $s))

  ;; bytes of memory, hashed one by one
  (func (export "bytes") (param $n i64) (result i64) (local $i i64) (local $h i32)
    (local.set $h (i32.const 0x811c9dc5))
    (loop $l
      (local.set $h
        (i32.mul
          (i32.xor (local.get $h) (i32.load8_u (i32.and (i32.wrap_i64 (local.get $i)) (i32.const 0xffff))))
          (i32.const 0x01000193)))
      (local.set $i (i64.add (local.get $i) (i64.const 1)))
      (br_if $l (i64.lt_u (local.get $i) (local.get $n))))
    (i64.extend_i32_u (local.get $h)))

  ;; words copied from one half of memory to the other, and added up
  (func (export "copy") (param $n i64) (result i64) (local $i i64) (local $p i32) (local $s i64)
    (loop $l
      (local.set $p (i32.and (i32.wrap_i64 (i64.shl (local.get $i) (i64.const 3))) (i32.const 0xfff8)))
      (i64.store (i32.add (local.get $p) (i32.const 65536)) (i64.add (i64.load (local.get $p)) (local.get $i)))
      (local.set $s (i64.add (local.get $s) (i64.load (i32.add (local.get $p) (i32.const 65536)))))
      (local.set $i (i64.add (local.get $i) (i64.const 1)))
      (br_if $l (i64.lt_u (local.get $i) (local.get $n))))
    (local.get $s))

  ;; two loops inside each other, the inner one short
  (func (export "nested") (param $n i64) (result i64) (local $i i64) (local $j i64) (local $s i64)
    (loop $outer
      (local.set $j (i64.const 0))
      (loop $inner
        (local.set $s (i64.add (i64.rotl (local.get $s) (i64.const 1)) (i64.xor (local.get $i) (local.get $j))))
        (local.set $j (i64.add (local.get $j) (i64.const 1)))
        (br_if $inner (i64.lt_u (local.get $j) (i64.const 8))))
      (local.set $i (i64.add (local.get $i) (i64.const 8)))
      (br_if $outer (i64.lt_u (local.get $i) (local.get $n))))
    (local.get $s))

  ;; an interpreter: dispatch in a loop
  (func (export "dispatch") (param $n i64) (result i64) (local $i i64) (local $s i64)
    (block $out
      (loop $l
        (br_if $out (i64.ge_u (local.get $i) (local.get $n)))
        (local.set $i (i64.add (local.get $i) (i64.const 1)))
        (block $d (block $c (block $b (block $a
          (br_table $a $b $c $d (i32.and (i32.wrap_i64 (i64.add (local.get $i) (local.get $s))) (i32.const 3))))
          ;; a
          (local.set $s (i64.add (local.get $s) (i64.const 3)))
          (br $l))
          ;; b
          (local.set $s (i64.xor (local.get $s) (i64.const 0x5555)))
          (br $l))
          ;; c
          (local.set $s (i64.rotl (local.get $s) (i64.const 7)))
          (br $l))
        ;; d
        (local.set $s (i64.sub (local.get $s) (local.get $i)))
        (br $l)))
    (local.get $s))

  ;; a small function called in a loop
  (func $step (param i64 i64) (result i64)
    (i64.add (i64.mul (local.get 0) (i64.const 6364136223846793005)) (local.get 1)))
  (func (export "leaf") (param $n i64) (result i64) (local $i i64) (local $s i64)
    (loop $l
      (local.set $s (call $step (local.get $s) (local.get $i)))
      (local.set $i (i64.add (local.get $i) (i64.const 1)))
      (br_if $l (i64.lt_u (local.get $i) (local.get $n))))
    (local.get $s))

  ;; a tree of calls with about n leaves
  (func $fib (param i64) (result i64)
    (if (result i64) (i64.lt_u (local.get 0) (i64.const 2))
      (then (local.get 0))
      (else (i64.add (call $fib (i64.sub (local.get 0) (i64.const 1))) (call $fib (i64.sub (local.get 0) (i64.const 2)))))))
  (func (export "fib") (param $n i64) (result i64)
    ;; fib(k) makes about 1.6^k calls; the argument is the bit length of n, scaled
    (call $fib (i64.div_u (i64.mul (i64.sub (i64.const 64) (i64.clz (local.get $n))) (i64.const 23)) (i64.const 16))))

  ;; small fills
  (func (export "fills") (param $n i64) (result i64) (local $i i64)
    (loop $l
      (memory.fill (i32.const 0) (i32.wrap_i64 (local.get $i)) (i32.const 64))
      (local.set $i (i64.add (local.get $i) (i64.const 64)))
      (br_if $l (i64.lt_u (local.get $i) (local.get $n))))
    (i64.load (i32.const 0)))
)
