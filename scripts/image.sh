#!/usr/bin/env bash
# Builds the image from the locally compiled binary on the locally bootstrapped base.
set -euo pipefail
source "$(dirname "$0")/lib.sh"

image=${IMAGE:-skerry:local}
base=${SKERRY_BASE:-skerry-base:local}
[[ -x $skerry ]] || die "$skerry is not built; run make build"
"$root/scripts/base-image.sh"

# The context holds one file; .dockerignore is for the multi-stage build of the whole tree.
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
strip -o "$context/skerry" "$skerry" 2>/dev/null || cp "$skerry" "$context/skerry"
before=$(docker image inspect --format '{{.Id}}' "$image" 2>/dev/null || true)
# The builder without BuildKit needs no plugin.
DOCKER_BUILDKIT=0 quietly docker build --build-arg BASE="$base" --tag "$image" \
    --file "$root/Dockerfile.local" "$context"
# The image that lost its name to this one; kept only if a container still runs on it.
if [[ -n $before && $before != "$(docker image inspect --format '{{.Id}}' "$image")" ]]; then
    docker image rm "$before" >/dev/null 2>&1 || true
fi
say "$image is ready"
