# syntax=docker/dockerfile:1
# Three images from one file: docker build --target api | worker-cpu | worker-cuda .
FROM python:3.12-slim AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PATH=/app/.venv/bin:$PATH \
    TRAINYARD_DATA_DIR=/data TRAINYARD_DATASETS_DIR=/datasets NUMBA_CACHE_DIR=/tmp/numba
# The user owns the two folders it writes to and nothing else.
RUN groupadd --gid 10001 trainyard \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin trainyard \
    && install -d -o trainyard -g trainyard -m 0700 /data /datasets
WORKDIR /app

FROM base AS build
RUN python -m pip install --no-cache-dir "uv>=0.9,<1"
COPY requirements.lock ./
RUN uv venv && uv pip install --no-cache --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY kernels kernels
COPY services services
COPY workers workers
COPY api api
RUN uv pip install --no-cache --no-deps -e .

FROM build AS build-cuda
COPY requirements-cuda13.lock ./
RUN uv pip install --no-cache --require-hashes -r requirements-cuda13.lock

FROM base AS api
COPY --from=build /app /app
USER 10001:10001
EXPOSE 8000
CMD ["python", "-m", "api.listen"]

FROM base AS worker-cpu
COPY --from=build /app /app
USER 10001:10001
STOPSIGNAL SIGTERM
CMD ["python", "-m", "workers.main", "--device", "cpu"]

FROM base AS worker-cuda
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build-cuda /app /app
USER 10001:10001
STOPSIGNAL SIGTERM
CMD ["python", "-m", "workers.main", "--device", "gpu:0"]
