# Read by the scripts of this folder, in the project's root.

setting() { # NAME DEFAULT: from the environment, else from .env, else the default
  local found=${!1:-}
  [[ -n $found || ! -f .env ]] || found=$(sed -n "s/^$1=//p" .env | tail -n 1 | sed -E "s/^([\"'])(.*)\1\$/\2/")
  echo "${found:-$2}"
}

# The command of Compose on this machine.
compose=${COMPOSE:-$(docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)}
