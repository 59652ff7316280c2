#!/usr/bin/env bash
# Bootstraps the base image from this machine's own Debian package sources, so that building the
# image needs no container registry. Does nothing when the image is already there.
set -euo pipefail

tag=${SKERRY_BASE:-skerry-base:local}
if docker image inspect "$tag" >/dev/null 2>&1; then
    exit 0
fi

suite=$(. /etc/os-release && echo "${VERSION_CODENAME:?this needs a Debian host}")

# The mirrors are those of the host, in either of apt's two formats; nothing is named here.
sources=()
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list; do
    if [[ -f $file ]] && grep -qE "^(Suites:.*|deb .*)\b$suite\b" "$file"; then
        sources+=("$file")
    fi
done
if [[ ${#sources[@]} -eq 0 ]]; then
    echo "base-image: no apt source for $suite in /etc/apt; cannot bootstrap" >&2
    exit 1
fi

# How the host reaches its mirror (proxy, relaxed dates of a snapshot mirror) applies here too.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
apt-config dump |
    grep -E '^Acquire::(https?::Proxy|Check-Valid-Until|Check-Date) ' >"$scratch/apt.conf" || true

echo "base-image: bootstrapping $tag ($suite) with mmdebstrap"
mode=root
[[ $(id -u) -eq 0 ]] || mode=auto
mmdebstrap --quiet --mode="$mode" --variant=minbase --include=ca-certificates \
    --aptopt="$scratch/apt.conf" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --customize-hook='rm -rf "$1"/etc/apt/sources.list* "$1"/etc/apt/apt.conf.d/99mmdebstrap' \
    "$suite" "$scratch/base.tar" "${sources[@]}"
docker import "$scratch/base.tar" "$tag" >/dev/null
echo "base-image: $tag is ready"
