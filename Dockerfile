# berth as a container image: one static binary, no shell, not root.
#
#   docker build --build-arg VERSION=v0.1.0 -t berth .

FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=development
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.stamped=${VERSION}" -o /berth ./cmd/berth \
 && mkdir /data

FROM scratch
# S3 over TLS needs to know whom to trust.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /berth /berth
COPY --from=build --chown=65532:65532 /data /data
USER 65532:65532
ENV BERTH_DATA=/data BERTH_HTTP_LISTEN=0.0.0.0:5000
VOLUME /data
EXPOSE 5000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["/berth", "healthcheck"]
ENTRYPOINT ["/berth"]
CMD ["serve"]
