#!/usr/bin/env bash
# secrets.sh [HOST]... : make what the stack keeps secret, in deploy/secrets, once; what is there already is left alone.
#   tls.crt, tls.key   certificate of the front door, signed by itself, for localhost and each HOST (a name or an address)
#   tokens             who may call: a line of nginx's map for each client, one random token to begin with
#   token              that token alone, for clients on this machine
#   grafana-password   of Grafana's user `admin`
set -euo pipefail
cd "$(dirname "$0")/secrets"
command -v openssl >/dev/null || { echo "openssl is missing; on Debian and Ubuntu: apt-get install openssl" >&2; exit 1; }

# The folder keeps other users of this machine out. The files are readable because each container runs as a user of its own,
# and is shown only those that it needs.
chmod 700 .
umask 022

if [[ ! -s tls.key || ! -s tls.crt ]]; then
  names=DNS:localhost,IP:127.0.0.1,DNS:nginx
  for host in "$@"; do
    if [[ $host =~ ^[0-9.]+$ || $host == *:* ]]; then names+=",IP:$host"; else names+=",DNS:$host"; fi
  done
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 825 -subj /CN=avizor \
    -addext "subjectAltName=$names" -keyout tls.key.new -out tls.crt.new 2>/dev/null
  chmod 644 tls.key.new # openssl writes it for its owner alone
  mv tls.key.new tls.key
  mv tls.crt.new tls.crt
  echo "made deploy/secrets/tls.crt and tls.key for $names"
fi

if [[ ! -s tokens ]]; then
  token=$(openssl rand -hex 32)
  echo "$token" >token
  echo "\"Bearer $token\" \"local\";" >tokens
  echo "made deploy/secrets/tokens, with one client, and its token in deploy/secrets/token"
fi

if [[ ! -s grafana-password ]]; then
  openssl rand -hex 16 >grafana-password
  echo "made deploy/secrets/grafana-password"
fi
