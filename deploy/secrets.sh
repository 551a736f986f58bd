#!/usr/bin/env bash
# secrets.sh [HOST]... : create the secrets of the stack in deploy/secrets. Files that exist are not changed.
#   tls.crt, tls.key   self-signed certificate of the front door, for localhost and each HOST (a name or an address)
#   tokens             the clients that may call: a line of nginx's map for each one; at first one client with a random token
#   token              only the token of that client, for use on this machine
#   grafana-password   password of Grafana's user `admin`
set -euo pipefail
cd "$(dirname "$0")/secrets"
command -v openssl >/dev/null || { echo "openssl is missing; on Debian and Ubuntu: apt-get install openssl" >&2; exit 1; }

# Other users of this machine cannot enter the folder. The files in it are readable, because each container runs as a different
# user and mounts only the files that it needs.
chmod 700 .
umask 022

if [[ ! -s tls.key || ! -s tls.crt ]]; then
  names=DNS:localhost,IP:127.0.0.1,DNS:nginx
  for host in "$@"; do
    if [[ $host =~ ^[0-9.]+$ || $host == *:* ]]; then names+=",IP:$host"; else names+=",DNS:$host"; fi
  done
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 825 -subj /CN=avizor \
    -addext "subjectAltName=$names" -keyout tls.key.new -out tls.crt.new 2>/dev/null
  chmod 644 tls.key.new # openssl makes it readable for its owner only
  mv tls.key.new tls.key
  mv tls.crt.new tls.crt
  echo "created deploy/secrets/tls.crt and tls.key for $names"
fi

if [[ ! -s tokens ]]; then
  token=$(openssl rand -hex 32)
  echo "$token" >token
  echo "\"Bearer $token\" \"local\";" >tokens
  echo "created deploy/secrets/tokens with one client, whose token is in deploy/secrets/token"
fi

if [[ ! -s grafana-password ]]; then
  openssl rand -hex 16 >grafana-password
  echo "created deploy/secrets/grafana-password"
fi
