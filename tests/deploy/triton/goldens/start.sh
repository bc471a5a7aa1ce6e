#!/bin/sh
# Serves the model in this folder with tritonserver. Written by edgec.
#
# Settings, all from the environment:
#   TRITON_SERVER      the server's program                     (tritonserver)
#   TRITON_BACKENDS    the folder of its backends               (/opt/tritonserver/backends)
#   TRITON_PYTHON      a Python with the packages it needs      (python3)
#   TRITON_REPOSITORY  the model repository                     (models, beside this file)
#   TRITON_ADDRESS     where to listen                          (127.0.0.1)
#   TRITON_HTTP_PORT, TRITON_GRPC_PORT, TRITON_METRICS_PORT     (8000, 8001, 8002)
#   TRITON_ADMIN_KEY   the key for loading models; needed when others can reach the address
#   TRITON_MEMORY_MIB  what the server may take of the memory   (7424)
# Arguments are passed on to the server.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
server=${TRITON_SERVER:-tritonserver}
backends=${TRITON_BACKENDS:-/opt/tritonserver/backends}
python=${TRITON_PYTHON:-python3}
repository=${TRITON_REPOSITORY:-$here/models}
address=${TRITON_ADDRESS:-127.0.0.1}
http_port=${TRITON_HTTP_PORT:-8000}
grpc_port=${TRITON_GRPC_PORT:-8001}
metrics_port=${TRITON_METRICS_PORT:-8002}
memory_mib=${TRITON_MEMORY_MIB:-7424}

fail() {
    printf 'start.sh: %s\n' "$@" >&2
    exit 1
}

command -v -- "$server" >/dev/null 2>&1 || fail "no program $server: install Triton, or set TRITON_SERVER"
[ -d "$backends"/python ] || fail "no backend python in $backends: install it, or set TRITON_BACKENDS"
[ -d "$repository" ] || fail "no model repository $repository: unpack the whole bundle, or set TRITON_REPOSITORY"
# The python backend hands both paths to a shell without quotes, and then waits for ever.
case $repository$backends in
*[[:space:]\'\"\`\\\$\&\;\|\<\>\(\)\*\?\[\]\{\}\~\#\!]*)
    fail "$repository or $backends has a space or a sign of the shell in it, with which Triton's python backend waits for ever" \
        "move it to a path of letters, digits and . _ - /" ;;
esac
case $memory_mib in
'' | *[!0-9]* | ?????????*) fail "TRITON_MEMORY_MIB is '$memory_mib': give a whole number of MiB" ;;
esac

# The python backend runs models in the first python3 on PATH, which must be of the version it was built for.
python=$(command -v -- "$python") || fail "no program ${TRITON_PYTHON:-python3}: install Python 3, or set TRITON_PYTHON"
PATH=$(dirname -- "$python"):$PATH
export PATH
version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
stub=$backends/python/triton_python_backend_stub
if [ -f "$stub" ] && command -v ldd >/dev/null 2>&1; then
    wanted=$(ldd "$stub" 2>/dev/null | sed -n 's/.*libpython\(3\.[0-9]*\)\.so.*/\1/p' | head -n 1)
    [ -z "$wanted" ] || [ "$wanted" = "$version" ] ||
        fail "this Triton runs models with Python $wanted, $python is $version" \
            "make an environment, python$wanted -m venv ENV, and set TRITON_PYTHON=ENV/bin/python3"
fi
requirements=''"'"'numpy<2'"'"' xllamacpp==2026.10.11549'
python3 -c 'import numpy, xllamacpp' ||
    fail "$python cannot import what the model needs" "install it: $python -m pip install $requirements"
# Triton's own Python library reads texts wrongly with numpy 2, without a word.
python3 -c 'import numpy; raise SystemExit(int(numpy.__version__.split(".")[0]) > 1)' ||
    fail "$python has numpy 2, Triton's python backend needs numpy 1" "$python -m pip install 'numpy<2'"

# Whoever can ask the server to load a model can run code in it; the others read or change what is not theirs.
closed=model-repository,shared-memory,trace,logging
case $address in
127.* | ::1 | localhost) ;;
*) [ -n "${TRITON_ADMIN_KEY:-}" ] || fail "$address can be reached by others: set TRITON_ADMIN_KEY, the key for loading models" ;;
esac
if [ -n "${TRITON_ADMIN_KEY:-}" ]; then
    set -- --grpc-restricted-protocol="$closed:admin-key=$TRITON_ADMIN_KEY" "$@"
fi
# Models are loaded by load.sh, over gRPC. Over HTTP nobody has the key: a load there makes Triton lose responses of
# streams that run, without an error.
set -- --http-restricted-api="$closed:closed=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')" "$@"

set -- "$server" --model-repository="$repository" --backend-directory="$backends" \
    --model-control-mode=explicit --load-model=docs-llama \
    --disable-auto-complete-config --strict-readiness=true --exit-timeout-secs=30 \
    --http-address="$address" --http-port="$http_port" --grpc-address="$address" --grpc-port="$grpc_port" \
    --metrics-address="$address" --metrics-port="$metrics_port" "$@"

# The server reads a request's body on the stack of a thread: with the usual 8 MiB, a body of 8 MB ends it.
raise_stack() {
    # shellcheck disable=SC3045  # not in POSIX, but in dash, bash and busybox
    ulimit -s "$(($1 * 1024))" 2>/dev/null || printf 'start.sh: the stack cannot be raised, large requests end the server\n' >&2
}

# The limit needs no root: a scope of the user's systemd where it may limit memory, else a limit per process.
user_cgroup=/sys/fs/cgroup/user.slice/user-$(id -u).slice/user@$(id -u).service/cgroup.controllers
if grep -qsw memory "$user_cgroup" && systemd-run --user --scope --quiet true 2>/dev/null; then
    printf 'start.sh: at most %s MiB for the server and its models, by systemd\n' "$memory_mib" >&2
    raise_stack 64
    exec systemd-run --user --scope --quiet -p MemoryMax="${memory_mib}M" -- "$@"
fi
# Here the stacks of all threads count as data, used or not: smaller ones, and room for what they are above the usual.
raise_stack 16
data_mib=$((memory_mib + 512))
[ "$data_mib" -ge 1300 ] ||
    fail "TRITON_MEMORY_MIB is $memory_mib: without systemd's limit the server needs $((1300 - 512)) for the stacks of its threads alone"
printf 'start.sh: at most %s MiB of data per process, by ulimit\n' "$data_mib" >&2
# shellcheck disable=SC3045  # not in POSIX, but in dash, bash and busybox
ulimit -d "$((data_mib * 1024))"
exec "$@"
