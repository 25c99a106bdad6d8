# Static binaries in images that hold nothing else; every process runs as user
# 65532. Build one of the targets: broker, worker, practice-erp.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o /out/ ./cmd/broker ./cmd/worker ./cmd/practice-erp
# Folders that volumes are mounted on, owned by the user that writes them.
RUN mkdir -p /empty/data /empty/worker-data /empty/login /empty/tmp

FROM scratch AS base
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /usr/share/zoneinfo /usr/share/zoneinfo
COPY --from=build --chown=65532:65532 /empty /
USER 65532:65532
WORKDIR /

FROM base AS broker
COPY --from=build /out/broker /broker
VOLUME ["/data", "/login"]
EXPOSE 8080 4222
ENTRYPOINT ["/broker"]
CMD ["serve", "--config", "/etc/ferry/broker.yaml", "--log-format", "json"]

FROM base AS worker
COPY --from=build /out/worker /worker
VOLUME ["/worker-data", "/login"]
ENTRYPOINT ["/worker"]
CMD ["--log-format", "json", "run", "--config", "/etc/ferry/worker.yaml"]

FROM base AS practice-erp
COPY --from=build /out/practice-erp /practice-erp
EXPOSE 9090
ENTRYPOINT ["/practice-erp"]
CMD ["-listen", "0.0.0.0:9090"]
