# A registered model over HTTP, without the project. `make image` copies this file to build/image with the values of its
# arguments, puts the checked model and the locked packages that it needs beside it, and builds it there.
ARG PYTHON=3.11
FROM python:${PYTHON}-slim-bookworm

RUN useradd --uid 10001 --create-home model
WORKDIR /srv

# A layer of its own: most versions share it.
COPY requirements.txt .
RUN pip install --no-cache-dir --require-hashes --requirement requirements.txt

COPY model model
ARG VERSION
ARG MODEL_MD5
# Every answer names the version. Requests run side by side, each on one thread.
ENV UVICORN_HEADERS="x-model-version:${VERSION} x-model-md5:${MODEL_MD5}" \
    OMP_NUM_THREADS=1 \
    MLFLOW_DISABLE_TELEMETRY=true

USER 10001
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/ping', timeout=4)"]
CMD ["mlflow", "models", "serve", "--model-uri", "model", "--env-manager", "local", "--host", "0.0.0.0", "--port", "8080", "--workers", "1", "--timeout", "60"]
