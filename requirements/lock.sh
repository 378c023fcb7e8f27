#!/bin/sh
# Compiles every lock file again with the uv at $1; upgrades nothing by itself (pass UPGRADE=--upgrade for that).
set -eu
uv=$1
compile() {
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url ${UPGRADE:-} "$@"
}
compile pyproject.toml --extra dev -o requirements.lock
compile pyproject.toml --constraint requirements.lock -o requirements/runtime.lock
compile requirements/bootstrap.in -o requirements/bootstrap.lock
compile requirements/model.in --no-deps -o requirements/model.lock
