# Where Debian packages come from on this machine; sourced by the scripts in this folder.
#
# No file of this project names a mirror. A Debian machine already knows one, and how to reach it; anywhere else
# mmdebstrap knows the official one.
# shellcheck shell=bash

# need_root_and PROGRAM...: says in one line what is missing.
need_root_and() {
    local program
    if [ "$(id -u)" -ne 0 ]; then
        echo "$(basename "$0"): must run as root: it makes a root file system with its owners and devices" >&2
        exit 1
    fi
    for program in "$@"; do
        if ! command -v "$program" >/dev/null; then
            echo "$(basename "$0"): needs $program: run \`make setup\`" >&2
            exit 1
        fi
    done
}

# debian_archive: prints the URI of the machine's Debian archive, or nothing when it is not a Debian machine.
debian_archive() {
    apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        awk -F'|' '$1 == "Debian" && $2 == "Debian" && $3 == "main" { print $4; exit }'
}

# apt_acquire_settings: prints how the machine's own apt reaches its archive (proxies, certificates, date checks).
# What apt acquires is left out: that is for the new root to say.
apt_acquire_settings() {
    apt-config dump 2>/dev/null |
        grep '^Acquire::' |
        grep -vE '^Acquire::(IndexTargets|Languages|Changelogs|cdrom|CompressionTypes|GzipIndexes|PDiffs)' |
        grep -v ' "";$' || true
}

# make_debian_root SUITE DIR [mmdebstrap's options...]: runs mmdebstrap, silent unless it fails.
make_debian_root() {
    local suite=$1 directory=$2 settings log archive
    shift 2
    settings=$(mktemp)
    log=$(mktemp)
    apt_acquire_settings >"$settings"
    archive=$(debian_archive)
    # In the root the settings would be wrong on another machine: they are taken out once everything is installed.
    if ! mmdebstrap --mode=root --quiet "$@" \
        --aptopt="$settings" --aptopt='APT::Install-Recommends "false"' \
        --customize-hook='rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap"' \
        "$suite" "$directory" ${archive:+"$archive"} >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$settings" "$log"
        return 1
    fi
    rm -f "$settings" "$log"
}
