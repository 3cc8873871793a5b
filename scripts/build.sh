#!/usr/bin/env bash
# Builds the container image, scans it, and pushes it where that is asked for. docs/deployment/images.md
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'USAGE'
usage: scripts/build.sh [OPTION…]

  -t, --target TARGET     production (default) or development
  -p, --push              push to the registry, once the scan has passed
  -r, --registry REGISTRY such as ghcr.io/terragonlabs
  -n, --name NAME         the image's name (default: rlhf-audit-trail)
  -v, --version VERSION   the tag beside `latest` (default: the version in Cargo.toml)
      --no-scan           do not look for known vulnerabilities
      --multi-arch        linux/amd64 and linux/arm64, with buildx; without -p into dist/NAME-VERSION.oci.tar
      --cache-from IMAGE  take layers from this image's cache; may be given several times
      --cache-to IMAGE    push the cache as this image
      --dry-run           print the commands and run none of them
  -h, --help              show this

Variables, which options beat: REGISTRY, VERSION, PUSH_IMAGE=true, SCAN_SECURITY=true|false|required (required: no scanner
is a failure). DOCKER names the client. Development images get -dev behind their tags, and the tag `dev`.

Reports of the scan and the list of what is in the image are in reports/. Exit codes: 0 done, 1 the build failed or a critical
vulnerability was found, 2 bad usage, 3 something needed is missing.
USAGE
}

say() { printf 'build.sh: %s\n' "$*" >&2; }
refuse() { say "$1"; exit 2; }
missing() { say "$1"; exit 3; }

target=production name=rlhf-audit-trail
registry="${REGISTRY-}" version="${VERSION-}" push="${PUSH_IMAGE:-false}" scan="${SCAN_SECURITY:-true}"
multi_arch=false dry_run=false cache_to=
cache_from=()
value() { if [ -z "${2-}" ]; then refuse "$1 needs a value; see --help"; fi; printf '%s' "$2"; }
while [ $# -gt 0 ]; do
  case "$1" in
    -t | --target) target="$(value "$@")"; shift ;;
    -r | --registry) registry="$(value "$@")"; shift ;;
    -n | --name) name="$(value "$@")"; shift ;;
    -v | --version) version="$(value "$@")"; shift ;;
    --cache-from) cache_from+=("$(value "$@")"); shift ;;
    --cache-to) cache_to="$(value "$@")"; shift ;;
    -p | --push) push=true ;;
    --no-scan) scan=false ;;
    --multi-arch) multi_arch=true ;;
    --dry-run) dry_run=true ;;
    -h | --help) usage; exit 0 ;;
    *) refuse "unknown option \`$1\`; see --help" ;;
  esac
  shift
done

# --- what was asked for
case "$target" in
  production) file=Dockerfile suffix= ;;
  development) file=Dockerfile.dev suffix=-dev ;;
  *) refuse "the target \`$target\` is neither production nor development" ;;
esac
case "$push" in true | 1 | yes) push=true ;; false | 0 | no | '') push=false ;; *) refuse "PUSH_IMAGE is \`$push\`, expected true or false" ;; esac
case "$scan" in true | false | required) ;; *) refuse "SCAN_SECURITY is \`$scan\`, expected true, false or required" ;; esac
[ -n "$version" ] || version="$(sed -nE '/^\[workspace\.package\]/,/^\[/ s/^version = "(.*)"/\1/p' Cargo.toml | head -n 1)"
[[ "$version" =~ ^[A-Za-z0-9_][A-Za-z0-9_.-]{0,120}$ ]] || refuse "\`$version\` cannot be a tag: letters, digits, '.', '_' and '-'"
[[ "$name" =~ ^[a-z0-9]+([._/-][a-z0-9]+)*$ ]] || refuse "\`$name\` cannot be an image's name: lower-case letters, digits, '.', '_', '-' and '/'"
registry="${registry%/}"
[[ "$registry" != *://* ]] || refuse "give the registry without https://, such as ghcr.io/terragonlabs"
if [ "$push" = true ] && [ -z "$registry" ]; then refuse "to push takes a registry: -r ghcr.io/terragonlabs, or REGISTRY"; fi

image="${registry:+$registry/}$name"
tags=("$image:$version$suffix" "$image:latest$suffix")
[ "$target" = production ] || tags+=("$image:dev")
docker="${DOCKER:-docker}"
export DOCKER_BUILDKIT=1

# --- what it takes
has_buildx() { "$docker" buildx version >/dev/null 2>&1; }

check_prerequisites() {
  command -v "$docker" >/dev/null || missing "docker is missing; install Docker 20.10 or newer (https://docs.docker.com/engine/install/)"
  local said
  if ! said="$("$docker" version --format '{{.Server.Version}}' 2>&1)"; then
    case "$said" in
      *"permission denied"*)
        missing "this user may not talk to the Docker daemon; add it to its group (sudo usermod -aG docker $(id -un)) and log in again" ;;
      *"Cannot connect"* | *"failed to connect"* | *"no such host"* | *"connection refused"*)
        missing "the Docker daemon does not answer at ${DOCKER_HOST:-its usual socket}; start it (sudo systemctl start docker, or scripts/offline/engine.sh start), or set DOCKER_HOST" ;;
      *) missing "the Docker daemon does not answer: $said" ;;
    esac
  fi
  if [ "$multi_arch" = true ] && ! has_buildx; then
    missing "--multi-arch takes Docker Buildx, which this client lacks (https://docs.docker.com/build/install-buildx/)"
  fi
  local major; major="$("$docker" version --format '{{.Client.Version}}')"; major="${major%%.*}"
  if [ "${major:-0}" -ge 23 ] && ! has_buildx; then
    missing "this docker client ($major) builds with its Buildx plugin alone, and that is missing; install docker-buildx-plugin, or name a client that has BuildKit in DOCKER"
  fi
  if [ "$scan" = required ] && [ -z "$(scanners)" ]; then
    missing "SCAN_SECURITY=required, and there is no scanner; install Trivy, Grype or Docker Scout"
  fi
}

# Those that are there, one a line; Scout where there is no other.
scanners() {
  local found=
  for scanner in trivy grype; do
    if command -v "$scanner" >/dev/null; then echo "$scanner"; found=1; fi
  done
  if [ -z "$found" ] && "$docker" scout version >/dev/null 2>&1; then echo scout; fi
}

# --- doing it
run() { # prints a command, and runs it unless this is a dry run
  if [ "$dry_run" = true ]; then printf '%q ' "$@" | sed 's/ $//'; echo; else "$@"; fi
}

revision=unknown epoch="${SOURCE_DATE_EPOCH-}"
if git rev-parse --git-dir >/dev/null 2>&1; then
  revision="$(git rev-parse HEAD 2>/dev/null || echo unknown)"
  [ -z "$(git status --porcelain 2>/dev/null | head -n 1)" ] || revision="$revision-dirty"
  [ -n "$epoch" ] || epoch="$(git log -1 --format=%ct 2>/dev/null || true)"
fi
epoch="${epoch:-0}"
created="$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ 2>/dev/null || date -u -r "$epoch" +%Y-%m-%dT%H:%M:%SZ)"

arguments=(--file "$file" --build-arg "VERSION=$version" --build-arg "REVISION=$revision" --build-arg "CREATED=$created"
  --build-arg "SOURCE_DATE_EPOCH=$epoch")
[ "$target" != production ] || arguments+=(--target production)
for variable in HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy; do
  [ -z "${!variable-}" ] || arguments+=(--build-arg "$variable")
done
for tag in "${tags[@]}"; do arguments+=(--tag "$tag"); done

# With buildx a cache holds every stage.
build_one() {
  local cached=() ref
  if has_buildx_for_cache; then
    for ref in "${cache_from[@]}"; do cached+=(--cache-from "type=registry,ref=$ref"); done
    [ -z "$cache_to" ] || cached+=(--cache-to "type=registry,ref=$cache_to,mode=max")
    ensure_builder
    run "$docker" buildx build "${builder[@]}" --load "${arguments[@]}" "${cached[@]}" .
    return
  fi
  for ref in "${cache_from[@]}"; do cached+=(--cache-from "$ref"); done
  run "$docker" build "${arguments[@]}" "${cached[@]}" .
}

# Without buildx a cache is an image that says what is in it: of the stage that has what takes long.
push_cache() {
  if [ -z "$cache_to" ] || has_buildx_for_cache; then return 0; fi
  local cached=() stage=() ref
  for ref in "${cache_from[@]}"; do cached+=(--cache-from "$ref"); done
  [ "$target" != production ] || stage=(--target builder)
  run "$docker" build --file "$file" "${stage[@]}" --build-arg BUILDKIT_INLINE_CACHE=1 --build-arg "SOURCE_DATE_EPOCH=$epoch" \
    "${cached[@]}" --tag "$cache_to" .
  run "$docker" push "$cache_to"
}
has_buildx_for_cache() { [ "$multi_arch" = true ] || { [ -n "$cache_to$(printf %s "${cache_from[@]}")" ] && has_buildx; }; }

# The engine's own builder neither builds for other architectures nor exports a cache; one in a container does.
builder=()
ensure_builder() {
  [ ${#builder[@]} = 0 ] || return 0
  builder=(--builder rlhf-audit)
  if [ "$dry_run" = true ] || ! "$docker" buildx inspect rlhf-audit >/dev/null 2>&1; then
    run "$docker" buildx create --name rlhf-audit --driver docker-container
  fi
}

build_all_architectures() {
  local cached=() out
  ensure_builder
  for ref in "${cache_from[@]}"; do cached+=(--cache-from "type=registry,ref=$ref"); done
  [ -z "$cache_to" ] || cached+=(--cache-to "type=registry,ref=$cache_to,mode=max")
  if [ "$push" = true ]; then
    out=(--push)
  else
    run mkdir -p dist
    out=(--output "type=oci,dest=dist/${name##*/}-$version$suffix.oci.tar")
  fi
  run "$docker" buildx build "${builder[@]}" --platform linux/amd64,linux/arm64 "${arguments[@]}" "${cached[@]}" "${out[@]}" .
}

# The list of the binary's dependencies, out of the image.
write_sbom() {
  [ "$target" = production ] || return 0
  run mkdir -p reports
  if [ "$dry_run" = true ]; then
    run "$docker" create "${tags[0]}"
    run "$docker" cp CONTAINER:/usr/share/rlhf-audit/sbom.cdx.json reports/sbom.json
    run "$docker" rm CONTAINER
    return
  fi
  local container
  container="$("$docker" create "${tags[0]}")"
  "$docker" cp "$container:/usr/share/rlhf-audit/sbom.cdx.json" reports/sbom.json || { "$docker" rm "$container" >/dev/null; return 1; }
  "$docker" rm "$container" >/dev/null
}

critical() { say "$1 found critical vulnerabilities; its reports are in reports/ (nothing was pushed)"; exit 1; }
broken() { say "$1 failed (exit code $2), so nothing is known of the image's vulnerabilities; see above, or --no-scan"; exit 1; }

scan_image() {
  [ "$scan" != false ] || return 0
  local found scanner code=0 image="${tags[0]}"
  found="$(scanners)"
  if [ -z "$found" ]; then
    [ "$scan" != required ] || missing "SCAN_SECURITY=required, and there is no scanner; install Trivy, Grype or Docker Scout"
    say "warning: the image is not scanned, there is neither Trivy, Grype nor Docker Scout (SCAN_SECURITY=required makes that a failure)"
    return 0
  fi
  run mkdir -p reports
  for scanner in $found; do
    case "$scanner" in
      trivy)
        run rm -f reports/trivy-report.json reports/trivy-report.txt
        run trivy image --quiet --format json --output reports/trivy-report.json "$image" || broken trivy $?
        run trivy image --quiet --format table --output reports/trivy-report.txt "$image" || broken trivy $?
        # A code of our own tells what was found from a scanner that failed.
        run trivy image --quiet --severity CRITICAL --exit-code 10 "$image" || code=$?
        case "$code" in 0) ;; 10) critical trivy ;; *) broken trivy "$code" ;; esac ;;
      grype)
        run rm -f reports/grype-report.json
        run grype "$image" --output json --file reports/grype-report.json --fail-on critical || code=$?
        if [ "$code" != 0 ]; then
          # It writes its report before it fails for what is in there.
          if [ -s reports/grype-report.json ]; then critical grype; else broken grype "$code"; fi
        fi ;;
      scout)
        run "$docker" scout cves --format sarif --output reports/scout-report.sarif "$image" || broken "docker scout" $?
        run "$docker" scout cves --only-severity critical --exit-code "$image" || code=$?
        case "$code" in 0) ;; 2) critical "docker scout" ;; *) broken "docker scout" "$code" ;; esac ;;
    esac
  done
}

push_image() {
  for tag in "${tags[@]}"; do
    run "$docker" push "$tag" || {
      say "$tag was not pushed; log in first (docker login ${registry%%/*}), and see that the registry lets you write there"
      exit 1
    }
  done
}

[ "$dry_run" = true ] || check_prerequisites
# Their last command decides, since what is asked whether it failed does not stop by itself.
build_one || { say "the build failed; its last lines say where. Out of memory: fewer jobs at a time (docs/deployment/images.md)"; exit 1; }
push_cache
write_sbom
scan_image
if [ "$multi_arch" = true ]; then
  build_all_architectures || { say "the build for all architectures failed; \`docker buildx ls\` shows what this machine can build"; exit 1; }
elif [ "$push" = true ]; then
  push_image
fi
[ "$dry_run" = true ] || say "built ${tags[*]}"
