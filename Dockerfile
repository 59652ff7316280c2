# The image built from source, for people with a container registry. The runtime stage matches
# Dockerfile.local; tag it skerry:local and docker-compose.yml uses it.
FROM rust:1.95-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends ccache clang cmake libclang-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --locked --package skerry --bin skerry && strip target/debug/skerry

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libstdc++6 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --create-home --shell /usr/sbin/nologin skerry \
    && for name in . net v0 v1 v2 v3 v4 v5 v6 v7 rpc faucet; do \
        install -d -m 0700 -o skerry -g skerry "/net/$name"; done
COPY --from=build /src/target/debug/skerry /usr/local/bin/skerry
USER 10001:10001
WORKDIR /home/skerry
EXPOSE 30333/tcp 30333/udp 50051/tcp 9464/tcp 8081/tcp
ENTRYPOINT ["/usr/local/bin/skerry"]
