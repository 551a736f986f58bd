# Read by the scripts of this folder, in the project's root.

setting() { # NAME DEFAULT: from the environment, else from .env, else the default
  local found=${!1:-}
  [[ -n $found || ! -f .env ]] || found=$(sed -n "s/^$1=//p" .env | tail -n 1 | sed -E "s/^([\"'])(.*)\1\$/\2/")
  echo "${found:-$2}"
}
