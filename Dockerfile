# An image that contains only the static binary.
#
#   docker/build                                  without any registry; needs Rust and a C compiler
#   docker build --target upstream -t tidings .   builds in an image that has Rust, which is pulled
ARG RUST_IMAGE=rust:1.95-bookworm

# Builders without BuildKit build all stages before the target, so no stage before `prebuilt` pulls an image.
FROM scratch AS base
# A user id that hosts do not use.
USER 65532:65532
EXPOSE 6969/tcp 6969/udp
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["/usr/bin/tidings", "probe", "--target", "udp://127.0.0.1:6969", "--quiet"]
ENTRYPOINT ["/usr/bin/tidings"]
CMD ["serve"]

# From the files that docker/build puts into target/image/.
FROM base AS prebuilt
COPY tidings /usr/bin/tidings
# Empty directories, from which volumes get their owner.
COPY --chown=65532:65532 owned/ /

FROM ${RUST_IMAGE} AS build
WORKDIR /src
COPY . .
RUN docker/build --files

FROM base AS upstream
COPY --from=build /src/target/image/tidings /usr/bin/tidings
COPY --from=build --chown=65532:65532 /src/target/image/owned/ /
