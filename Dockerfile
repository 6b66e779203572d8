# One image for every service: the front, the workers, Flower and the model import.
#
#   docker build --build-arg EXTRA=cpu -t millrace:cpu .
#   docker build --build-arg EXTRA=gpu -t millrace:gpu .
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ARG EXTRA=cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python3 -m venv /opt/millrace
# The pinned packages are a layer of their own: a change of the code does not fetch them again.
COPY requirements.lock requirements-gpu.lock ./
RUN case "$EXTRA" in \
        cpu) lock=requirements.lock ;; \
        gpu) lock=requirements-gpu.lock ;; \
        *) echo "EXTRA must be cpu or gpu, not '$EXTRA'" >&2; exit 1 ;; \
    esac \
    && /opt/millrace/bin/pip install --quiet --require-hashes -r "$lock"
COPY . .
RUN /opt/millrace/bin/pip install --quiet --no-deps --no-build-isolation .

FROM ${BASE}
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /tmp millrace \
    && install -d -o millrace -g millrace /models /files
COPY --from=build /opt/millrace /opt/millrace
COPY deploy/healthcheck /usr/local/bin/healthcheck
# The root filesystem may be read-only: what is temporary goes to /tmp, models to /models, files
# of batches to /files.
ENV PATH=/opt/millrace/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    MILLRACE_HOST=0.0.0.0 \
    MILLRACE_DATA_DIR=/tmp/millrace \
    MILLRACE_MODELS_DIR=/models \
    MILLRACE_FILES_URL=/files
USER millrace
WORKDIR /tmp
EXPOSE 8000
ENTRYPOINT ["millrace"]
CMD ["--help"]
