#!/bin/sh
# One line for each thing that is missing to build Whipray, with the command that installs it.
#
#     tools/prerequisites.sh [interpreter]
#
# Exit status 1 when anything is missing, otherwise 0 and no output. The commands are Debian's.
set -u
python=${1:-python3}
rust_minor=95
missing=0

need() {
    printf 'missing: %s; install it with: %s\n' "$1" "$2" >&2
    missing=1
}

# A compiler alone is not enough: linking needs the C library's development files.
links_a_program() {
    output=$(mktemp) || return 1
    printf 'int main(void) { return 0; }\n' | cc -x c - -o "$output" 2>/dev/null
    status=$?
    rm -f "$output"
    return $status
}

if ! "$python" --version >/dev/null 2>&1; then
    need "$python (Python 3.9 or newer)" "apt-get install -y python3 python3-venv"
elif ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 9))'; then
    need "Python 3.9 or newer ($python is older; choose another one with PYTHON=...)" \
        "apt-get install -y python3 python3-venv"
elif ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    need "the modules venv and ensurepip of $python" "apt-get install -y python3-venv"
fi

if ! cc --version >/dev/null 2>&1; then
    need "cc (a C compiler, which links the Rust programs)" "apt-get install -y gcc libc6-dev"
elif ! links_a_program; then
    need "the development files of the C library" "apt-get install -y libc6-dev"
fi

if ! command -v cargo >/dev/null 2>&1; then
    need "cargo (Rust 1.$rust_minor or newer)" \
        "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y && . ~/.cargo/env"
else
    version=$(rustc --version 2>/dev/null | sed -nE 's/^rustc 1\.([0-9]+)\..*/\1/p')
    if [ "${version:-0}" -lt "$rust_minor" ]; then
        need "Rust 1.$rust_minor or newer" "rustup toolchain install"
    fi
fi

exit $missing
