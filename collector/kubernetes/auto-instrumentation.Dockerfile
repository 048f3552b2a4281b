# The OpenTelemetry Operator's image for Python, with otel-memleak in it. Build context: the repository.
#
#   docker build -f collector/kubernetes/auto-instrumentation.Dockerfile -t registry.example.com/autoinstrumentation-python-memleak:1 .
#
# The operator copies /autoinstrumentation into the pod (musl: /autoinstrumentation-musl) and puts it on PYTHONPATH.
# psutil comes with the published image, in a build for each of the two C libraries, and is left alone.
ARG BASE=ghcr.io/open-telemetry/opentelemetry-operator/autoinstrumentation-python:0.60b1

FROM python:3.13-slim AS package
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY src src
# Without dependencies: the published image has them, at versions that fit each other.
RUN pip install --no-cache-dir --no-deps --target /package .

FROM ${BASE}
COPY --from=package /package /autoinstrumentation
COPY --from=package /package /autoinstrumentation-musl
