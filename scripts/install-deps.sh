#!/usr/bin/env bash
# Installs what the build, the tests and the demo need, on Debian and its kin; elsewhere it prints the list.
#
#   install-deps.sh [build|demo|test]     what for: test is all of it, and the default
#
# Quick when everything is there: then no package manager is called and no root is needed.
set -euo pipefail

build_packages=(build-essential cmake ninja-build pkg-config libdnnl-dev libjansson-dev libpcre2-dev libxxhash-dev
    libyaml-dev libcmocka-dev gnuplot-nox)
demo_packages=(python3 python3-pip unzip ca-certificates bible-kjv)
test_packages=(clang libclang-rt-dev)

case ${1:-test} in
build) wanted=("${build_packages[@]}") ;;
demo) wanted=("${build_packages[@]}" "${demo_packages[@]}") ;;
test) wanted=("${build_packages[@]}" "${demo_packages[@]}" "${test_packages[@]}") ;;
*)
    echo 'usage: install-deps.sh [build|demo|test]' >&2
    exit 2
    ;;
esac

say() { echo "install-deps: $*" >&2; }

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    needs=()
    for tool in cc cmake pkg-config; do
        command -v "$tool" >/dev/null || needs+=("$tool")
    done
    say 'this is not Debian; install these by your own package manager (Debian names):'
    printf '    %s\n' "${wanted[*]}" >&2
    [ ${#needs[@]} -eq 0 ] && exit 0
    say "missing now: ${needs[*]}"
    exit 1
fi

is_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

missing=()
for package in "${wanted[@]}"; do
    is_installed "$package" || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        say "missing: ${missing[*]}; need root or sudo to install them"
        exit 1
    fi
    as_root=(sudo)
    [ -t 0 ] || as_root=(sudo -n)
fi

# `env` carries the setting through sudo.
apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o Acquire::Retries=3 "$@" </dev/null; }

# Package lists are fetched only when they are not there or do not lead to the packages.
say "installing ${missing[*]}"
fetched=
if [ -z "$(find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' -print -quit 2>/dev/null)" ]; then
    apt update
    fetched=1
fi
if ! apt install --no-install-recommends -y "${missing[@]}" >/dev/null; then
    [ -z "$fetched" ] || exit 1
    say 'trying again with fresh package lists'
    apt update
    apt install --no-install-recommends -y "${missing[@]}" >/dev/null
fi
