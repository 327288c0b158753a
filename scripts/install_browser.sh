#!/usr/bin/env bash
# What the tests of the report page need besides Python: Chromium by apt-get, where that is there
# and we are root, and axe-core by npm into .venv/browser. What is there already is left alone.
set -euo pipefail
cd "$(dirname "$0")/.."
AXE=axe-core@4.14.1
AXE_SUM="$PWD/scripts/axe-core.sha256"
FOLDER=.venv/browser

cannot() {
    echo "install_browser: $*" >&2
    exit 1
}

has_chromium() {
    command -v "${LSNS_CHROMIUM:-chromium}" >/dev/null
}

has_axe() {
    (cd "$FOLDER" && sha256sum --check --status "$AXE_SUM") 2>/dev/null
}

install_chromium() {
    command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] ||
        cannot "no Chromium, and no apt-get as root; install it, or set LSNS_CHROMIUM to its path"
    local log
    log=$(mktemp)
    export DEBIAN_FRONTEND=noninteractive
    # Not the recommended packages: of them a headless browser needs only a font.
    { apt-get update -qq &&
        apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; } \
        >"$log" 2>&1 || { cat "$log" >&2 && cannot "apt-get could not install chromium"; }
    rm "$log"
}

install_axe() {
    command -v npm >/dev/null || cannot "no npm, by which $AXE is installed"
    # npm leaves a file alone that has changed.
    rm -rf "$FOLDER"
    mkdir -p "$FOLDER"
    npm install --ignore-scripts --no-save --no-package-lock --no-audit --no-fund \
        --loglevel=error --prefix "$FOLDER" "$AXE" >/dev/null ||
        cannot "npm could not install $AXE"
    has_axe || cannot "axe.min.js of $AXE is not the file that scripts/axe-core.sha256 names"
}

has_chromium || install_chromium
has_axe || install_axe
