#!/usr/bin/env bash
# Make the secrets of deploy/compose.yaml, of random bytes, where there are none yet: files that only this user and the
# user of the containers (uid 1000) may read.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p secrets
chmod 700 secrets
random() { od -An -N "$1" -tx1 /dev/urandom | tr -d ' \n'; }
keep() { # keep NAME: write standard input to a secret that is not there
    if [[ -e secrets/$1 ]]; then cat >/dev/null; else cat >"secrets/$1"; fi
    chmod 644 "secrets/$1" # Compose mounts the file as it is; the folder keeps other users of this machine out
}
random 32 | keep ray_token
random 8 | keep s3_user
random 24 | keep s3_password
printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' \
    "$(<secrets/s3_user)" "$(<secrets/s3_password)" | keep s3_credentials
