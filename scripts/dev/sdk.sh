#!/usr/bin/env bash
# Puts the SDK of this checkout into the Python of the development image, with its native half in a debug build:
# sdk.sh [--no-build]. Run it after a change below python/ or crates/python.
set -euo pipefail
cd "$(dirname "$0")/../.."

target="${CARGO_TARGET_DIR:-target}"
if [ "${1-}" != --no-build ]; then cargo build --locked -p rlhf-audit-python; fi
packages="$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
rm -rf "$packages/rlhf_audit_trail"
cp -r python/rlhf_audit_trail "$packages/"
cp "$target/debug/lib_native.so" "$packages/rlhf_audit_trail/_native.abi3.so"
python3 -c 'import rlhf_audit_trail; print("rlhf_audit_trail is installed from this checkout")'
