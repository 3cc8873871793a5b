# `docker build .` makes the production image; `--target development` and Dockerfile.dev make one to work in.
# docs/deployment/images.md says what is in them. No `syntax` line: it would have to be pulled.
ARG RUST_IMAGE=rust:1.95-slim-bookworm
ARG DEBIAN_IMAGE=debian:bookworm-slim

# --- what decides the dependencies, and nothing else
FROM ${RUST_IMAGE} AS skeleton
WORKDIR /src
COPY . .
RUN scripts/image/skeleton.sh /skeleton

# --- tools that write the dependencies into the binary, and out of it again
FROM ${RUST_IMAGE} AS tools
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    cargo install --locked --root /tools cargo-auditable@0.7.7 && cargo install --locked --root /tools auditable2cdx@0.1.0

# --- the binary. The first `build-binary.sh` is cached until a manifest changes.
FROM ${RUST_IMAGE} AS builder
WORKDIR /src
COPY --from=tools /tools/bin/ /usr/local/bin/
COPY scripts/image/build-binary.sh scripts/image/forget-own.sh scripts/image/
COPY --from=skeleton /skeleton/ ./
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked scripts/image/build-binary.sh --dependencies
COPY Cargo.toml Cargo.lock ./
COPY benches benches
COPY xtask xtask
COPY crates crates
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked scripts/image/build-binary.sh \
 && mkdir /out && cp target/release/rlhf-audit /out/ && auditable2cdx /out/rlhf-audit >/out/sbom.cdx.json

# --- to work in: the toolchain, tools and a checkout that is mounted at /workspace (Dockerfile.dev has Jupyter and the SDK too)
FROM ${RUST_IMAGE} AS development
COPY scripts/image/dev-tools.sh scripts/image/dev-requirements.txt /opt/image/
RUN /opt/image/dev-tools.sh
ENV PATH=/opt/python/bin:$PATH CARGO_TARGET_DIR=/target RLHF_AUDIT_DATA_DIR=/data RLHF_AUDIT_HOST=0.0.0.0
WORKDIR /workspace
VOLUME /data /target
EXPOSE 8000 8888
CMD ["scripts/dev/watch.sh"]

# --- a root file system with bash and without what a server never needs
FROM ${DEBIAN_IMAGE} AS rootfs
COPY scripts/image/slim.sh /tmp/
RUN groupadd --gid 10001 audit && useradd --uid 10001 --gid audit --home-dir /tmp --no-create-home --shell /bin/bash audit \
 && install -d -o audit -g audit -m 0750 /data && IN_IMAGE_BUILD=1 /tmp/slim.sh

# --- what is deployed
FROM scratch AS production
COPY --from=rootfs / /
# The authorities that TLS connections to databases and object stores are checked against.
COPY --from=builder /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY LICENSE /usr/share/rlhf-audit/
COPY --from=builder /out/sbom.cdx.json /usr/share/rlhf-audit/
COPY --from=builder /out/rlhf-audit /usr/local/bin/
# Two pools of memory: with one for each thread, much of what a burst took is never given back (docs/operations/sizing.md).
ENV PATH=/usr/local/bin:/usr/bin:/bin RLHF_AUDIT_DATA_DIR=/data RLHF_AUDIT_HOST=0.0.0.0 MALLOC_ARENA_MAX=2
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["rlhf-audit", "health"]
ENTRYPOINT ["rlhf-audit"]
CMD ["serve"]
ARG VERSION=0.0.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
# The time of what newer versions of BuildKit write.
ARG SOURCE_DATE_EPOCH=0
LABEL org.opencontainers.image.title="RLHF Audit Trail" \
      org.opencontainers.image.description="A record of how a model was trained from human feedback that anyone can check" \
      org.opencontainers.image.source="https://github.com/terragonlabs/rlhf-audit-trail" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
