#!/bin/sh
# Makes what a broker needs for TLS, where it is missing or ends within 30 days:
#   certificates.sh FOLDER NAME...     NAME: host names and addresses by which clients reach the broker
# FOLDER/ca.pem is for clients; FOLDER/server.pem and server.key (mode 0600) are for the broker. The authority's own
# key is thrown away, so that nothing else can be issued in its name.
set -eu
umask 077

[ $# -ge 2 ] || { echo "usage: certificates.sh FOLDER NAME..." >&2; exit 2; }
folder=$1
shift

if [ -s "$folder/server.key" ] && openssl x509 -in "$folder/server.pem" -noout -checkend 2592000 >/dev/null; then
  exit 0
fi

names=
for name in "$@"; do
  case $name in
    *:*) kind=IP ;;
    *[!0-9.]*) kind=DNS ;;
    *) kind=IP ;;
  esac
  names="${names:+$names,}$kind:$name"
done

mkdir -p "$folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/openssl.cnf" <<END
[req]
distinguished_name = subject
[subject]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = $names
END

openssl ecparam -genkey -noout -name prime256v1 -out "$work/ca.key"
openssl ecparam -genkey -noout -name prime256v1 -out "$work/server.key"
openssl req -new -x509 -config "$work/openssl.cnf" -extensions authority -subj "/CN=Glassrabbit private authority" \
  -key "$work/ca.key" -days 366 -out "$work/ca.pem"
openssl req -new -config "$work/openssl.cnf" -subj "/CN=$1" -key "$work/server.key" -out "$work/server.csr"
openssl x509 -req -in "$work/server.csr" -CA "$work/ca.pem" -CAkey "$work/ca.key" -set_serial 1 \
  -extfile "$work/openssl.cnf" -extensions server -days 365 -out "$work/server.pem" 2>/dev/null

chmod 644 "$work/ca.pem" "$work/server.pem"
chmod go+rx "$folder"
# The certificate last: from it the next run knows that all is there.
cp -p "$work/ca.pem" "$work/server.key" "$folder/"
cp -p "$work/server.pem" "$folder/"
echo "issued for $*: $folder/ca.pem for clients, server.pem and server.key for the broker" >&2
