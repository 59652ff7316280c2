#!/usr/bin/env bash
# Installs what the build and the tests need on a Debian machine that has a Rust toolchain: names
# the packages first, then installs those that are missing. With nothing missing it takes a moment.
set -euo pipefail

# A linker and C++ for RocksDB, libclang for its bindings, ccache so that it is compiled once;
# strace, mmdebstrap and Python serve the tests.
packages=(
    ca-certificates git make gcc g++ libc6-dev cmake pkg-config ccache clang libclang-dev
    python3 python3-venv strace mmdebstrap uidmap
)

if ! command -v cargo >/dev/null; then
    echo "setup: no cargo on the PATH; install a Rust toolchain first, see https://rustup.rs" >&2
    exit 1
fi
if ! command -v dpkg-query >/dev/null; then
    echo "setup: this is no Debian system; install what stands for: ${packages[*]}" >&2
    exit 1
fi

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [[ $status == installed ]] || missing+=("$package")
done
if [[ ${#missing[@]} -eq 0 ]]; then
    exit 0
fi

echo "setup: these system packages will be installed: ${missing[*]}"
as_root=()
if [[ $(id -u) -ne 0 ]]; then
    if ! command -v sudo >/dev/null; then
        echo "setup: neither root nor sudo; ask an administrator to install them" >&2
        exit 1
    fi
    as_root=(sudo)
fi
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null
echo "setup: done"
