# Dayfly in a container. It needs the engine's socket and a configuration:
#
#   docker run -d --name dayfly --restart always \
#     --user 65532:$(stat -c %g /var/run/docker.sock) \
#     -v /var/run/docker.sock:/var/run/docker.sock \
#     -v /etc/dayfly:/etc/dayfly:ro -v dayfly-state:/var/lib/dayfly \
#     -p 127.0.0.1:9745:9745 -e DAYFLY_HTTP__LISTEN=0.0.0.0:9745 dayfly

FROM docker.io/library/rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin dayfly \
    && install -D target/release/dayfly /out/dayfly

FROM docker.io/library/debian:bookworm-slim
# Without certificate authorities the TLS client cannot be built.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/dayfly /usr/local/bin/dayfly
# A new named volume takes owner and mode from here, so that the unprivileged user can write to it.
RUN install -d -o 65532 -g 65532 -m 0700 /var/lib/dayfly
USER 65532:65532
VOLUME /var/lib/dayfly
EXPOSE 9745
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["dayfly", "status", "--quiet"]
ENTRYPOINT ["dayfly"]
CMD ["run", "--config", "/etc/dayfly/dayfly.toml"]
