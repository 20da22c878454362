#!/usr/bin/env bash
# What some tests want from the system: Debian's Chromium, for the sketching page, and PostgreSQL, for a team's store.
#
#   make test-tools        as root, or with sudo; tests whose tool is missing skip and say so
set -euo pipefail

packages=""
command -v chromium >/dev/null || packages="chromium fonts-dejavu-core"
compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null || packages="$packages postgresql"
[ -n "$packages" ] || { echo "test tools: Chromium and PostgreSQL are there"; exit 0; }

sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo"
command -v apt-get >/dev/null || { echo "test tools: no apt-get here; install by hand: $packages" >&2; exit 1; }
echo "test tools: installing $packages"
$sudo apt-get update -qq
# shellcheck disable=SC2086
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
