#!/bin/sh
# Makes cargo forget what it built of this workspace itself, but not of its dependencies: forget-own.sh DIR, the profile's
# directory. Empty sources are newer than the real ones, and would be taken for them.
set -eu
rm -rf "$1"/.fingerprint/rlhf-audit* "$1"/rlhf-audit* "$1"/build/rlhf-audit* "$1"/lib_native*
find "$1/deps" \( -name '*rlhf_audit*' -o -name 'lib_native*' -o -name '_native*' \) -delete
