#!/bin/sh
# A small certificate authority for a bench. In the field use one that keeps its key elsewhere (step-ca, EST).
#   pki.sh DIR init [BROKER-NAME-OR-ADDRESS ...]   ca.crt, crl.pem and the broker's certificate
#   pki.sh DIR client NAME [DAYS]                  NAME.crt and NAME.key; NAME is the device id, or a user of the ACL
#   pki.sh DIR revoke NAME                         into crl.pem; the broker reads it when it starts
set -eu
umask 077
usage() { sed -n '3,5s/^# *//p' "$0" >&2; exit 64; }
[ $# -ge 2 ] || usage
dir=$1 act=$2
shift 2
case $act-${1-} in client-*[!A-Za-z0-9_.-]* | client-)
    echo "${1-}: a device id has letters, digits, _ . - only" >&2
    exit 64
    ;;
esac

authority() { openssl ca -batch -notext -config "$dir/ca.cnf" "$@" 2>"$dir/ca.log" || { cat "$dir/ca.log" >&2; exit 1; }; }

issue() { # NAME DAYS EXTENSIONS
    [ ! -e "$dir/$1.crt" ] || { echo "$dir/$1.crt is there already; revoke $1 first" >&2; exit 1; }
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" \
        -keyout "$dir/$1.key" -out "$dir/$1.csr" 2>/dev/null
    printf '%s\n' "$3" >"$dir/$1.ext"
    authority -in "$dir/$1.csr" -out "$dir/$1.crt" -days "$2" -extfile "$dir/$1.ext"
    rm "$dir/$1.csr" "$dir/$1.ext"
}

case $act in
init)
    mkdir -p "$dir"
    [ ! -e "$dir/ca.crt" ] || { echo "$dir/ca.crt is there already" >&2; exit 1; }
    cat >"$dir/ca.cnf" <<EOF
[ca]
default_ca = bench
[bench]
database = $dir/index
serial = $dir/serial
new_certs_dir = $dir
certificate = $dir/ca.crt
private_key = $dir/ca.key
default_md = sha256
default_crl_days = 365
policy = any
unique_subject = no
[any]
commonName = supplied
EOF
    : >"$dir/index"
    echo 1000 >"$dir/serial"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/CN=edge bench CA" \
        -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign" \
        -keyout "$dir/ca.key" -out "$dir/ca.crt" 2>/dev/null
    names="DNS:localhost,IP:127.0.0.1"
    for name in "$@"; do
        case $name in
        *[!0-9.]*) names="$names,DNS:$name" ;;
        *) names="$names,IP:$name" ;;
        esac
    done
    issue broker 825 "subjectAltName=$names
extendedKeyUsage=serverAuth"
    authority -gencrl -out "$dir/crl.pem"
    ;;
client)
    [ $# -ge 1 ] || usage
    issue "$1" "${2:-90}" "extendedKeyUsage=clientAuth"
    ;;
revoke)
    [ $# -ge 1 ] || usage
    authority -revoke "$dir/$1.crt"
    authority -gencrl -out "$dir/crl.pem"
    mv "$dir/$1.crt" "$dir/$1.revoked.crt"
    ;;
*) usage ;;
esac
