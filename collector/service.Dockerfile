# The example service with its visitors, for compose.yaml. Build context: the repository.
FROM python:3.13-slim
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip install --no-cache-dir '.[auto]' fastapi uvicorn opentelemetry-instrumentation-fastapi
WORKDIR /app
COPY examples/fastapi_cache examples/load.py ./
USER 1000
# The visitors are a second program: what they hold is not what is watched.
ENTRYPOINT ["sh", "-c", "python load.py http://127.0.0.1:8000 '/quotes/ACME?visitor={n}' '/history/H{n}' /search /symbols & exec opentelemetry-instrument uvicorn \"$0\" --port 8000 --no-access-log"]
