# An image of the static binary and nothing else.
#
#   docker/build                                  without any registry; it takes Rust and a C compiler
#   docker build --target upstream -t tidings .   for those who build from an image with Rust, which is pulled
ARG RUST_IMAGE=rust:1.95-bookworm

# Builders without BuildKit build all stages before the one they are asked for, so nothing is pulled before `prebuilt`.
FROM scratch AS base
# A user that no host has.
USER 65532:65532
EXPOSE 6969/tcp 6969/udp
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["/usr/bin/tidings", "probe", "--target", "udp://127.0.0.1:6969", "--quiet"]
ENTRYPOINT ["/usr/bin/tidings"]
CMD ["serve"]

# From what docker/build has put into target/image/.
FROM base AS prebuilt
COPY tidings /usr/bin/tidings
# Empty directories, for volumes that get their owner from them.
COPY --chown=65532:65532 owned/ /

FROM ${RUST_IMAGE} AS build
WORKDIR /src
COPY . .
RUN docker/build --files

FROM base AS upstream
COPY --from=build /src/target/image/tidings /usr/bin/tidings
COPY --from=build --chown=65532:65532 /src/target/image/owned/ /
