#!/usr/bin/env bash
# models.sh load|rollback|calibrate|tune NAME [OPTION]... : change which version of a model the stack serves, what its verdicts come
# from, or its serving settings, without a restart. The command runs in a container, because nothing else reaches the stack's
# Triton. OPTION: see `avizor models load`, `avizor models rollback`, `avizor calibrate` and `avizor tune`; data for the latter two
# are below /data, the folder that AVIZOR_BATCH_DATA names. The plot of tune is written into the folder that you are in.
#   AVIZOR_MODELS   the folder of the models, by default models/ (also read from .env, as Compose does)
# What is chosen is written into that folder, so call it as who may write there.
set -euo pipefail
here=$PWD where=()
cd "$(dirname "$0")/.."
source deploy/setting.sh

case ${1:-} in
  load | rollback) command="avizor models $1" ;;
  calibrate) command="avizor calibrate" ;;
  tune) command="avizor tune" where=(--volume "$here:/here" --workdir /here) ;;
  *)
    echo "usage: deploy/models.sh load|rollback|calibrate|tune NAME [OPTION]..." >&2
    exit 2
    ;;
esac
shift

models=$(setting AVIZOR_MODELS models)
[[ -d $models ]] || { echo "deploy/models.sh: $models is no folder; name that of the stack's models in AVIZOR_MODELS" >&2; exit 1; }
no_terminal=
[[ -t 0 && -t 1 ]] || no_terminal=-T
exec $compose run --rm $no_terminal --user "$(id -u):$(id -g)" --volume "$(cd "$models" && pwd):/repository" \
  ${where[@]+"${where[@]}"} --entrypoint "$command" batch "$@" --models /repository --engine triton://triton:8001
