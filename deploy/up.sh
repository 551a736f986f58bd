#!/usr/bin/env bash
# up.sh [HOST]... : start the stack, and say where it is and what to do next. `make up` calls it; HOST as in secrets.sh.
#   AVIZOR_MODELS   the folder of the models, by default models/ (also read from .env, as Compose does)
# Only if no models folder is named and models/ holds no model, the models of the demo are trained first, for which `make`
# creates .venv. Everything else needs only Docker with Compose, and openssl.
set -euo pipefail
cd "$(dirname "$0")/.."

source deploy/setting.sh

has_models() { # FOLDER
  compgen -G "$1/*/config.pbtxt" >/dev/null
}

problem=$($compose ps -q 2>&1 >/dev/null | tail -n 1) || {
  echo "the stack needs Docker with Compose, and a running Docker engine; \`$compose ps\` says: ${problem:-nothing}" >&2
  echo "see https://docs.docker.com/compose/install" >&2
  exit 1
}
models=$(setting AVIZOR_MODELS "")

if [[ -n $models ]]; then
  has_models "$models" || {
    echo "AVIZOR_MODELS=$models holds no model (FOLDER/NAME/config.pbtxt); name the folder that avizor export wrote to, or leave it out" >&2
    exit 1
  }
elif ! has_models models; then
  echo "models/ holds no model: training those of the demo"
  ${MAKE:-make} demo-models
fi

ran_before=$($compose ps -q nginx 2>/dev/null || true)
deploy/secrets.sh "$@"
$compose up --build --detach || {
  $compose logs --no-color --tail 3 triton gateway nginx >&2 || true
  cat >&2 <<END

The stack did not start; the lines above say why.
  a port is taken          choose others, in the environment or .env: AVIZOR_FRONT_PORT, AVIZOR_PROMETHEUS_PORT, AVIZOR_ALERTMANAGER_PORT
  a network overlaps       AVIZOR_NETWORK, the first three numbers of its addresses (now $(setting AVIZOR_NETWORK 10.213.77))
  alpha is too small       AVIZOR_ALPHA, as large as the gateway's line says
More: $compose logs NAME. Then run this again: what runs already is kept.
END
  exit 1
}
# a front door that ran before reads certificate and tokens again; if it cannot use them, it says why, and keeps those that it has
[[ -z $ran_before ]] || $compose exec -T nginx nginx -s reload

door=${1:-localhost}:$(setting AVIZOR_FRONT_PORT 8443)
cat <<END

The stack runs.
  front door    https://$door   gRPC, and JSON over HTTP; trust deploy/secrets/certificate/tls.crt
  token         in deploy/secrets/token
  models        ${models:-models}
  Prometheus    http://localhost:$(setting AVIZOR_PROMETHEUS_PORT 9090)
  Alertmanager  http://localhost:$(setting AVIZOR_ALERTMANAGER_PORT 9093)
  alerts        $compose logs -f alerts

Next, ask it which models it serves:
  curl --cacert deploy/secrets/certificate/tls.crt -H "authorization: Bearer \$(cat deploy/secrets/token)" https://$door/v1/models
docs/operations.md says how to go on: verdicts, batch jobs, alerts. Stop the stack with: make down
END
