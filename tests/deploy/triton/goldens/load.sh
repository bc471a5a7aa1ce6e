#!/bin/sh
# Loads the newest versions of the model in this folder into the server that start.sh has started. Written by edgec.
#
# Settings, from the environment, as start.sh has them: TRITON_ADDRESS, TRITON_GRPC_PORT, TRITON_ADMIN_KEY.
#
# Over gRPC, never over HTTP: a load holds the HTTP thread that it came to, and Triton loses responses of streams that
# wait for this thread, without an error; such a stream never ends.
set -eu

address=${TRITON_ADDRESS:-127.0.0.1}
port=${TRITON_GRPC_PORT:-8001}

fail() {
    printf 'load.sh: %s\n' "$@" >&2
    exit 1
}

case $address in
0.0.0.0) address=127.0.0.1 ;;
::) address='[::1]' ;;
*:*) address="[$address]" ;;
esac
curl -V 2>/dev/null | grep -qw HTTP2 || fail "no curl that speaks HTTP/2: install curl"

# A file, because the key must not stand in the list of processes.
headers=$(mktemp)
trap 'rm -f "$headers"' EXIT
printf '%s\n' 'content-type: application/grpc' 'te: trailers' >"$headers"
if [ -n "${TRITON_ADMIN_KEY:-}" ]; then
    printf 'triton-grpc-protocol-admin-key: %s\n' "$TRITON_ADMIN_KEY" >>"$headers"
fi
# The message of gRPC: no compression, its length, and the model's name as Triton's protobuf has it.
reply=$(printf '\000\000\000\000\014\022\012\144\157\143\163\055\154\154\141\155\141' |
    curl -sS --globoff --http2-prior-knowledge -D - -o /dev/null -H "@$headers" --data-binary @- \
        "http://$address:$port/inference.GRPCInferenceService/RepositoryModelLoad") ||
    fail "no answer from $address:$port: start the server with start.sh"
printf '%s\n' "$reply" | tr -d '\r' | grep -qx 'grpc-status: 0' ||
    fail "the server does not load it: $(printf '%s\n' "$reply" | tr -d '\r' | sed -n 's/^grpc-message: //p')"
printf 'load.sh: %s is loaded\n' docs-llama
