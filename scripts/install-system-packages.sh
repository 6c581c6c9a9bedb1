#!/usr/bin/env bash
# Installs the Debian packages that the tests use besides Python: a browser for the report's tests, the fonts it draws
# with, PostgreSQL for the tests of database sources, and Java for the rules on Spark. Safe to run again: what is there
# is left alone.
set -euo pipefail

missing=()
command -v chromium >/dev/null || missing+=(chromium)
[ -d /usr/share/fonts/truetype/liberation ] || [ -d /usr/share/fonts/truetype/liberation2 ] || missing+=(fonts-liberation)
# The server's programs are not on the PATH in Debian, and `psql` alone does not mean that they are there.
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
command -v java >/dev/null || missing+=(openjdk-17-jre-headless)

if [ ${#missing[@]} -eq 0 ]; then
  echo "system packages: chromium, fonts-liberation, postgresql and java are there; nothing to install"
  exit 0
fi
if ! command -v apt-get >/dev/null; then
  echo "system packages: missing ${missing[*]}, and there is no apt-get here; install them with this system's own tool" >&2
  exit 1
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "system packages: missing ${missing[*]}; run this as root, there is no sudo" >&2
    exit 1
  fi
  as_root=(sudo)
fi

echo "system packages: installing ${missing[*]}"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
echo "system packages: installed ${missing[*]}"
