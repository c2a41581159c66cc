#!/usr/bin/env bash
# Gives Debian's Rust the standard library of the wasm32-wasip1 target, which Debian does not package: installs compiler,
# library source, linker and WASI C library, and compiles the library into the toolchain's own directory. Needs root.
# A second run finds the work done. Not needed where `rustup target add wasm32-wasip1` works.
set -euo pipefail

target=wasm32-wasip1
rustc=/usr/bin/rustc
cargo=/usr/bin/cargo
rustlib=/usr/lib/rustlib
wasi=/usr/lib/wasm32-wasi
lib=$rustlib/$target/lib
mark=$lib/.built-by
# The library's crates are compiled in a fixed place, so that every machine gets the same code.
build=/var/tmp/rust-std-$target

ready() { [ -x "$rustc" ] && [ "$(cat "$mark" 2>/dev/null)" = "$("$rustc" --version)" ]; }

if ready; then
	echo "$target: ready ($("$rustc" --version))"
	exit 0
fi
if ! [ -x "$cargo" ] || ! [ -x "$rustc" ] || ! [ -d $rustlib/src/rust/library/vendor ] || ! [ -e $wasi/libc.a ] ||
	! [ -x /usr/bin/wasm-ld-19 ]; then
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
		rustc-web cargo-web rust-web-src lld-19 wasi-libc >/dev/null
fi

rm -rf "$build"
mkdir -p "$build/src" "$build/.cargo" "$lib/self-contained"
trap 'rm -rf "$build"' EXIT
cat >"$build/Cargo.toml" <<-END
	[package]
	name = "std-seed"
	version = "0.0.0"
	edition = "2021"

	[profile.release]
	panic = "abort"
END
: >"$build/src/lib.rs"
cat >"$build/.cargo/config.toml" <<-END
	[source.crates-io]
	replace-with = "vendored"

	[source.vendored]
	directory = "$rustlib/src/rust/library/vendor"
END
# The start files and the C library are linked from the target's own directory; the linker is looked up by this name.
cp $wasi/crt1-command.o $wasi/crt1-reactor.o $wasi/libc.a "$lib/self-contained/"
ln -sf /usr/bin/wasm-ld-19 /usr/local/bin/rust-lld
(
	cd "$build"
	RUSTC_BOOTSTRAP=1 RUSTC=$rustc RUSTFLAGS=-Cembed-bitcode=yes CARGO_TARGET_DIR=$build/target CARGO_HOME=$build/.cargo \
		"$cargo" build --quiet --release --offline -Z build-std=std,panic_abort,test --target $target
)
rm -f "$lib"/*.rlib
find "$build/target/$target/release/deps" -name '*.rlib' ! -name 'libstd_seed*' -exec cp {} "$lib/" \;
"$rustc" --version >"$mark"
echo "$target: built ($(cat "$mark"))"
