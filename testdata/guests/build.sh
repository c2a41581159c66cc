#!/usr/bin/env bash
# Builds the guests: `build.sh [-o DIR] [FAMILY...]`.
#
# FAMILY is one of rust, assemblyscript, c, wat, js; all but js when none is given. Each guest FAMILY/NAME becomes
# FAMILY/NAME.wasm under DIR, or beside its source, which is where the committed ones are. JavaScript guests are 11 MB each
# and never committed: without -o they go to js/build. Needs what setup.sh installs. When it builds beside the sources, it
# also writes the tools' versions to TOOLS; `build.sh tools` prints those of this machine. The same tools give the same bytes,
# whatever folder they run in.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=

while getopts o: option; do
	case $option in
	o) out=$OPTARG ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
families=("$@")
[ ${#families[@]} -gt 0 ] || families=(rust assemblyscript c wat)
if [ -n "$out" ]; then
	mkdir -p "$out"
	out=$(cd "$out" && pwd)
fi

die() {
	echo "build.sh: $*" >&2
	exit 1
}

# retry COMMAND...: three times, because registries and networks have bad moments.
retry() {
	local try
	for try in 1 2 3; do
		"$@" && return
		[ $try = 3 ] || { echo "build.sh: trying again: $*" >&2 && sleep $((try * 5)); }
	done
	return 1
}

need() { command -v "$1" >/dev/null || die "$1 is not installed: run testdata/guests/setup.sh"; }

# dir FAMILY: where this family's .wasm files go.
dir() {
	local d=${out:+$out/$1}
	d=${d:-$here/$1}
	mkdir -p "$d"
	echo "$d"
}

# npm_install FAMILY: exactly the packages of its lock file.
npm_install() {
	need npm
	(cd "$here/$1" && retry npm ci --loglevel=error --no-audit --no-fund >/dev/null)
}

clang() { command -v clang-19 || command -v clang || die "clang is not installed: run testdata/guests/setup.sh"; }

# Debian's Rust when setup-rust-wasm.sh prepared it, else whatever `cargo` is, which must know the target.
rust_tools() {
	if [ -e /usr/lib/rustlib/wasm32-wasip1/lib/.built-by ]; then
		RUSTC=/usr/bin/rustc
		cargo=/usr/bin/cargo
	else
		need cargo
		need rustc
		RUSTC=$(command -v rustc)
		cargo=$(command -v cargo)
		ls "$("$RUSTC" --print target-libdir --target wasm32-wasip1)"/libstd-*.rlib >/dev/null 2>&1 ||
			die "Rust has no wasm32-wasip1 target: run testdata/guests/setup.sh, or rustup target add wasm32-wasip1"
	fi
	export RUSTC
}

build_rust() {
	need wasm-opt
	rust_tools
	local to home registry flags wasm
	to=$(dir rust)
	home=${CARGO_HOME:-$HOME/.cargo}
	(cd "$here/rust" && retry "$cargo" fetch --quiet --locked --target wasm32-wasip1)
	# Panic messages name source files: without these the files would tell where the builder keeps them.
	flags="--remap-path-prefix=$here/rust=guests"
	for registry in "$home"/registry/src/*/; do
		flags+=" --remap-path-prefix=${registry%/}=crates"
	done
	(
		cd "$here/rust"
		RUSTFLAGS=$flags CARGO_TARGET_DIR=$here/rust/build "$cargo" build --quiet --release --locked --target wasm32-wasip1
	)
	for wasm in "$here"/rust/src/bin/*.rs; do
		wasm=$(basename "$wasm" .rs).wasm
		wasm-opt -Oz --enable-bulk-memory --enable-sign-ext --enable-nontrapping-float-to-int --enable-mutable-globals \
			"$here/rust/build/wasm32-wasip1/release/$wasm" -o "$to/$wasm"
		chmod 644 "$to/$wasm"
	done
}

build_assemblyscript() {
	npm_install assemblyscript
	local to source
	to=$(dir assemblyscript)
	for source in "$here"/assemblyscript/*.ts; do
		(
			cd "$here/assemblyscript"
			node_modules/.bin/asc "$(basename "$source")" -O3 --shrinkLevel 2 -o "$to/$(basename "$source" .ts).wasm"
		)
	done
}

build_c() {
	local to source cc
	cc=$(clang)
	to=$(dir c)
	for source in "$here"/c/*.c; do
		"$cc" --target=wasm32-wasi -std=gnu11 -Wall -Wextra -Werror -Oz -flto -s "$source" -o "$to/$(basename "$source" .c).wasm"
		chmod 644 "$to/$(basename "$source" .c).wasm"
	done
}

build_wat() {
	need wat2wasm
	local to source
	to=$(dir wat)
	for source in "$here"/wat/*.wat; do
		# The names stay in, so that a trap's backtrace has something to show.
		wat2wasm --debug-names "$source" -o "$to/$(basename "$source" .wat).wasm"
	done
}

build_js() {
	npm_install js
	local to source
	to=${out:+$out/js}
	to=${to:-$here/js/build}
	mkdir -p "$to"
	for source in "$here"/js/*.js; do
		(cd "$here/js" && node_modules/.bin/js-compute "$(basename "$source")" "$to/$(basename "$source" .js).wasm")
	done
}

tool_versions() {
	rust_tools
	echo "$("$RUSTC" --version)"
	"$(clang)" --version | head -1
	wasm-opt --version | sed 's/ (.*//'
	echo "wabt $(wat2wasm --version)"
	echo "wasi-libc $(dpkg-query -W -f '${Version}' wasi-libc 2>/dev/null || echo unknown)"
}

if [ "${families[*]}" = tools ]; then
	tool_versions
	exit 0
fi
for family in "${families[@]}"; do
	case $family in
	rust | assemblyscript | c | wat | js)
		echo "building $family guests"
		"build_$family"
		;;
	*) die "no such family of guests: $family" ;;
	esac
done
if [ -z "$out" ] && [ "${families[*]}" != js ]; then
	tool_versions >"$here/TOOLS"
fi
