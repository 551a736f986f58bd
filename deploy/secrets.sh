#!/usr/bin/env bash
# secrets.sh [HOST]... : create the secrets of the stack in deploy/secrets, and check those that are there. What is there is kept.
#   certificate/tls.crt  certificate of the front door: self-signed, for localhost and each HOST (a name or an address). Yours may
#   key/tls.key          take its place: it is never replaced. If it names no HOST, or has no key, this script says so and fails.
#                        A self-signed one that this script made is made again, with the same key, if it lacks a HOST.
#   clients/tokens       the clients that may call, a line of nginx's map for each one; at first `local`, and `probe`, as which
#                        Prometheus' probe calls the front door
#   token, probe/token   only the tokens of these two
#   review/token         what people give the review page (profile `review`)
#   grafana-password     password of Grafana's user `admin`
set -euo pipefail
cd "$(dirname "$0")/secrets"
command -v openssl >/dev/null || { echo "openssl is missing; on Debian and Ubuntu: apt-get install openssl" >&2; exit 1; }

# Containers mount the five folders, so a file may be replaced by another of its name (mv) while they run. Other users of this machine
# cannot enter this folder. What is in it is readable, because each container runs as a different user and mounts only the folders
# that it needs.
chmod 700 .
umask 022
mkdir -p certificate key clients probe review
readonly certificate=certificate/tls.crt key=key/tls.key tokens=clients/tokens
for old in "tls.crt $certificate" "tls.key $key" "tokens $tokens" "probe-token probe/token"; do # where they were before
  read -r from to <<<"$old"
  [[ ! -e $from || -e $to ]] || mv "$from" "$to"
done

# The name of the certificates that this script makes; by it one is known again.
readonly subject="CN=avizor"

fail() {
  echo "deploy/secrets.sh: $*" >&2
  exit 1
}

names_of_certificate() { # one a line, as openssl writes them: DNS:localhost, IP Address:127.0.0.1
  openssl x509 -in $certificate -noout -ext subjectAltName 2>/dev/null | tail -n +2 | tr -d '\n' | sed 's/, */\n/g; s/^ *//'
}

is_named() { # HOST
  if is_address "$1"; then openssl x509 -in $certificate -noout -checkip "$1"; else openssl x509 -in $certificate -noout -checkhost "$1"; fi \
    | grep -q "does match"
}

is_address() { [[ $1 =~ ^[0-9.]+$ || $1 == *:* ]]; }

is_made_here() { # issued by itself, and under our name
  [[ $(openssl x509 -in $certificate -noout -subject -issuer -nameopt RFC2253) == "subject=$subject"$'\n'"issuer=$subject" ]]
}

make_certificate() { # for localhost, the names that it has, and all HOSTs; with the key that is there, or a new one
  local names=DNS:localhost,IP:127.0.0.1,DNS:nginx host entry
  if [[ -s $certificate ]]; then
    while read -r entry; do
      entry=${entry/IP Address:/IP:}
      [[ ,$names, == *",$entry,"* ]] || names+=",$entry"
    done < <(names_of_certificate; echo)
    names=${names%,}
  fi
  for host in "$@"; do
    if is_address "$host"; then entry="IP:$host"; else entry="DNS:$host"; fi
    [[ ,$names, == *",$entry,"* ]] || names+=",$entry"
  done
  if [[ ! -s $key ]]; then
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:prime256v1 -out $key.new
    chmod 644 $key.new # openssl makes it readable for its owner only
    mv $key.new $key
  fi
  openssl req -x509 -key $key -days 825 -subj /CN=avizor -addext "subjectAltName=$names" -out $certificate.new \
    || fail "openssl cannot make a certificate for $names; its message is above"
  mv $certificate.new $certificate
  echo "created deploy/secrets/$certificate for $names; give it to all callers. A front door that runs reads it on: docker-compose exec nginx nginx -s reload"
}

for host in "$@"; do
  [[ $host =~ ^[A-Za-z0-9.:*-]+$ && $host != -* ]] || fail "$host is no name or address of a host; write it without port and brackets"
done

if [[ ! -s $certificate ]]; then
  make_certificate "$@"
elif [[ ! -s $key ]]; then
  fail "$key is missing, and without it $certificate cannot be used. Put the key back; or remove the certificate, and this script makes a new pair"
else
  openssl x509 -in $certificate -noout 2>/dev/null || fail "$certificate is no certificate in PEM form; put a right one there, or remove it"
  [[ $(openssl pkey -in $key -pubout 2>/dev/null) == $(openssl x509 -in $certificate -noout -pubkey) ]] \
    || fail "$key is not the key of $certificate; put the pair there that belongs together"
  missing=()
  for host in "$@"; do is_named "$host" || missing+=("$host"); done
  if ((${#missing[@]})) && ! is_made_here; then
    fail "$certificate is yours, and does not name ${missing[*]}; ask its issuer for one that does. It was not changed"
  fi
  ! ((${#missing[@]})) || make_certificate "${missing[@]}"
  openssl x509 -in $certificate -noout -checkend $((30 * 86400)) >/dev/null \
    || echo "deploy/secrets/$certificate ends on $(openssl x509 -in $certificate -noout -enddate | cut -d= -f2): replace it before" >&2
fi

add_client() { # NAME FILE: a client with a random token
  local token
  token=$(openssl rand -hex 32)
  echo "$token" >"$2"
  [[ ! -s $tokens || -z $(tail -c 1 $tokens) ]] || echo >>$tokens # a last line without its end
  echo "\"Bearer $token\" \"$1\";" >>$tokens
  echo "created the client $1 in deploy/secrets/$tokens; its token is in deploy/secrets/$2"
}

[[ -s $tokens ]] || add_client local token
[[ -s probe/token ]] && grep -qF "\"Bearer $(<probe/token)\"" $tokens || add_client probe probe/token
if [[ ! -s review/token ]]; then
  openssl rand -hex 32 >review/token
  echo "created deploy/secrets/review/token: people give it to the review page"
fi
chmod a+r $certificate $key $tokens probe/token review/token # also what its owner put there

if [[ ! -s grafana-password ]]; then
  openssl rand -hex 16 >grafana-password
  echo "created deploy/secrets/grafana-password"
fi
