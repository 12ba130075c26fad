#!/bin/sh
# Builds weir.bpf.o and capture.bpf.o, the kernel programs that the agent embeds.
#
#   build.sh          build and put the objects beside this script
#   build.sh --check  build and compare with the committed objects; fails where a byte differs
#   build.sh --candidates FILE  build the drafts of hooks that `make hooks` measures
#
# The toolchain is pinned and paths are remapped, so that the bytes are the same on every machine.
set -eu

RUST=1.95.0
LINKER=0.13.0
LLVM=22

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
say() { printf 'bpf: %s\n' "$*" >&2; }

if ! rustc "+$RUST" --version >/dev/null 2>&1; then
    say "installing rust $RUST"
    rustup toolchain install "$RUST" --profile minimal
fi
sysroot=$(rustc "+$RUST" --print sysroot)
if [ ! -d "$sysroot/lib/rustlib/src/rust/library/core" ]; then
    say "installing rust-src $RUST"
    rustup component add rust-src --toolchain "$RUST"
fi

if [ ! -x "/usr/lib/llvm-$LLVM/bin/llvm-strip" ] || [ ! -x "/usr/lib/llvm-$LLVM/bin/llvm-config" ]; then
    say "installing llvm-$LLVM-dev"
    sudo=$([ "$(id -u)" = 0 ] || echo sudo)
    $sudo apt-get install -y --no-install-recommends "llvm-$LLVM" "llvm-$LLVM-dev"
fi
tools=${WEIR_BPF_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/weir-bpf}
linker="$tools/bpf-linker-$LINKER/bin/bpf-linker"
if [ ! -x "$linker" ] && command -v bpf-linker >/dev/null &&
    bpf-linker --version 2>/dev/null | grep -qw "$LINKER"; then
    linker=$(command -v bpf-linker)
fi
if [ ! -x "$linker" ]; then
    say "building bpf-linker $LINKER (about two minutes, once)"
    LLVM_PREFIX="/usr/lib/llvm-$LLVM" cargo "+$RUST" install bpf-linker --version "$LINKER" --locked \
        --no-default-features --features "llvm-$LLVM" --root "$tools/bpf-linker-$LINKER"
fi

target=$(mktemp -d)
trap 'rm -rf "$target"' EXIT
registry=${CARGO_HOME:-$HOME/.cargo}/registry
binaries="weir-bpf weir-capture"
[ "${1:-}" = --candidates ] && binaries=candidates
say "building $binaries"
# Not the caller's flags and settings: they would change the bytes.
unset RUSTFLAGS CARGO_BUILD_RUSTFLAGS CARGO_UNSTABLE_BUILD_DIR_NEW_LAYOUT CARGO_RESOLVER_FEATURE_UNIFICATION \
    CARGO_UNSTABLE_FEATURE_UNIFICATION CARGO_UNSTABLE_FINE_GRAIN_LOCKING CARGO_BUILD_TARGET_DIR || true
flags="-Clinker=$linker -Ctarget-cpu=v3 -Clink-arg=--btf -Cdebuginfo=2"
# Without it every memset and memmove is a loop over bytes, however short.
flags="$flags -Clink-arg=--disable-expand-memcpy-in-order"
flags="$flags --remap-path-prefix=$sysroot/lib/rustlib/src/rust=/rust --remap-path-prefix=$root=/weir"
for source in "$registry"/src/*; do
    flags="$flags --remap-path-prefix=$source=/registry"
done
flags="$flags --remap-path-prefix=$target=/target"
(
    cd "$here"
    RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$target" CARGO_TARGET_BPFEL_UNKNOWN_NONE_RUSTFLAGS="$flags" \
        cargo "+$RUST" build --quiet --locked --release -Z build-std=core --target bpfel-unknown-none \
        $(printf -- "--bin %s " $binaries)
)
failed=0
for binary in $binaries; do
    built="$target/bpfel-unknown-none/release/$binary"
    # The types of the maps (BTF) stay, the debugger's sections go.
    "/usr/lib/llvm-$LLVM/bin/llvm-strip" -g "$built"
    case $binary in weir-bpf) object=weir.bpf.o ;; *) object=${binary#weir-}.bpf.o ;; esac
    if [ "$binary" = candidates ]; then
        cp "$built" "$2"
    elif [ "${1:-}" != --check ]; then
        cp "$built" "$here/$object"
        say "wrote $object ($(wc -c <"$built") bytes)"
    elif cmp "$built" "$here/$object"; then
        say "$object is what its sources make ($(wc -c <"$built") bytes)"
    else
        say "the committed $object is not what its sources make: run probe/bpf/build.sh and commit it"
        failed=1
    fi
done
exit "$failed"
