# Dayfly in a container. docs/how-to/install.md has the steps to build and run it.
#
# Works with and without BuildKit. To build from a registry mirror:
#   docker build --build-arg RUST=mirror/rust:1.95-slim-bookworm --build-arg BASE=mirror/debian:bookworm-slim .

ARG RUST=docker.io/library/rust:1.95-slim-bookworm
ARG BASE=docker.io/library/debian:bookworm-slim

FROM ${RUST} AS build
# Creates the directory that becomes the state directory below.
WORKDIR /state/dayfly
WORKDIR /src
COPY . .
RUN cargo build --profile dist --locked --bin dayfly

FROM ${BASE}
COPY --from=build /src/target/dist/dayfly /usr/local/bin/dayfly
# TLS needs certificate authorities, and slim images have none.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
# A new named volume gets the owner of this directory.
COPY --from=build --chown=65532:65532 /state/ /var/lib/
# The default of state_dir, because the user below has no home directory.
ENV STATE_DIRECTORY=/var/lib/dayfly
USER 65532:65532
VOLUME /var/lib/dayfly
EXPOSE 9745
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["dayfly", "status", "--quiet"]
ENTRYPOINT ["dayfly"]
CMD ["run", "--config", "/etc/dayfly/dayfly.toml"]
