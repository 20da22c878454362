#!/usr/bin/env bash
# Makes .venv: Python 3.11, the locked dependencies with byte code compiled, and the system libraries that they need.
#
#   scripts/setup.sh        about a minute the first time; `make` calls it only when the lock or pyproject changes
#
# Needs git, make and some Python 3 with venv. Python 3.11 is found, or brought by uv.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }

# The full path of a Python 3.11. Full, because uv does not see through pyenv's shims and would download one.
find_python() {
  local candidate
  for candidate in python3.11 python3 python "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.11*/bin/python; do
    "$candidate" -c 'import sys; sys.version_info[:2] == (3, 11) or sys.exit(1); print(sys.executable)' 2>/dev/null && return
  done
  return 1
}

# uv installs in seconds what pip installs in minutes, and brings a Python where there is none.
find_uv() {
  if uv --version >/dev/null 2>&1; then
    echo uv
    return
  fi
  if ! .venv-uv/bin/uv --version >/dev/null 2>&1; then
    say "installing uv into .venv-uv"
    python3 -m venv .venv-uv >&2 || { say "FIX: python3 has no venv; on Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
    .venv-uv/bin/python -m pip install --quiet uv >&2
  fi
  echo .venv-uv/bin/uv
}

well() { env -u MUJOCO_GL .venv/bin/armchair doctor --only imports rendering >/dev/null 2>&1; }

# What wheels do not carry: GMP's C++ library for EnvLogger, and OpenGL without a screen, by Mesa in software, for the
# simulated cell's cameras. They need no graphics card.
LIBRARIES="libgmpxx4ldbl libegl1 libgl1 libegl-mesa0 libgl1-mesa-dri"
OSMESA="libosmesa6" # where EGL does not work; newer distributions no longer have it

apt_install() { # PACKAGES...: by apt-get, where we may
  local sudo=""
  [ "$(id -u)" = 0 ] || sudo="sudo -n"
  command -v apt-get >/dev/null && $sudo true 2>/dev/null || return 1
  say "installing $*"
  $sudo apt-get update -qq >/dev/null
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

uv=$(find_uv)
python=$(find_python) || { python=3.11; say "no Python 3.11 here: uv brings one"; }
say "Python: $python; installing the locked dependencies into .venv"
# Two minutes of patience a file: TensorFlow is large. Byte code: TensorFlow imports in 4 s instead of 12.
export UV_HTTP_TIMEOUT="${UV_HTTP_TIMEOUT:-120}"
# The machine's own certificates where it has some, as pip does: behind an office's proxy, uv's would not do.
if [ -s /etc/ssl/certs/ca-certificates.crt ]; then export UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1; fi
unset PYTHONDONTWRITEBYTECODE VIRTUAL_ENV
"$uv" venv --quiet --allow-existing --python "$python" .venv || {
  say "FIX: Python 3.11 is not here and could not be downloaded; install it (for example: pyenv install 3.11) and run make again"
  exit 1
}
"$uv" pip install --quiet --python .venv/bin/python --compile-bytecode -c constraints.txt -e '.[cpu,sim,envs,postgres,dask,franka,dev]'

# shellcheck disable=SC2086
well || { apt_install $LIBRARIES && well; } || { apt_install $OSMESA && well; } || {
  env -u MUJOCO_GL .venv/bin/armchair doctor --only imports rendering >&2 || true
  say "something is missing, see above; on Debian or Ubuntu: sudo apt-get install -y $LIBRARIES"
}
say "ready"
