#!/usr/bin/env bash
# Ask with curl: ask.sh HOST:PORT CA TOKEN_FILE MODEL VERB FILE...  VERB: classify, detectAnomaly, embed
# The token comes from standard input, so that no list of processes shows it.
set -euo pipefail
(($# > 5)) || { echo "usage: ask.sh HOST:PORT CA TOKEN_FILE MODEL VERB FILE..." >&2; exit 2; }
target=$1 ca=$2 token_file=$3 model=$4 verb=$5
shift 5
files=()
for file in "$@"; do files+=(--form "item=@$file"); done
printf 'authorization: Bearer %s\n' "$(cat "$token_file")" |
  curl --silent --show-error --fail-with-body --cacert "$ca" --header @- \
    "${files[@]}" "https://$target/v1/models/$model:$verb"
