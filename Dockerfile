# BASE is any system with Python 3.11 or newer. BUILDER is the same one with venv and pip
# beside it (by default BASE has them): only a virtual environment is taken over from it.
ARG BASE=python:3.13-slim-bookworm
ARG BUILDER=${BASE}

FROM ${BUILDER} AS builder
WORKDIR /build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore

# Where the package index is reached in another way than pip's own, the builder says so with
# the secrets pip.conf and ca.crt: they are there for this one command, and in no layer.
COPY requirements/build.txt requirements/run.txt requirements/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca.crt,target=/run/secrets/ca.crt \
    python3 -m venv tools \
 && python3 -m venv --without-pip /opt/passgate \
 && tools/bin/pip install --quiet --require-hashes --no-deps --only-binary :all: \
        --requirement requirements/build.txt \
 && tools/bin/pip --python /opt/passgate/bin/python install --quiet --no-compile \
        --require-hashes --no-deps --only-binary :all: --requirement requirements/run.txt

# Compiled here, since the image is read-only where it runs; by hash, since a date in each
# file would make every build another image.
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN tools/bin/pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir dist . \
 && tools/bin/pip --python /opt/passgate/bin/python install --quiet --no-compile --no-deps \
        --no-index dist/*.whl \
 && /opt/passgate/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/passgate/lib


FROM ${BASE}
LABEL org.opencontainers.image.title="passgate" \
      org.opencontainers.image.description="A self-hosted gateway between AI agents and model APIs" \
      org.opencontainers.image.licenses="Apache-2.0"

# What installs software has no business in an image that runs it.
RUN if python3 -m pip --version >/dev/null 2>&1; then \
        python3 -m pip uninstall --yes --quiet --root-user-action ignore pip; \
    fi \
 && rm -rf "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')/ensurepip" \
 && install -d -m 0700 -o 10001 -g 10001 /var/lib/passgate

COPY --from=builder /opt/passgate /opt/passgate

# 0.0.0.0 is the container's own network: what reaches the host is said by `ports`. The admin
# listener stays on the container's loopback. SAFEPATH: never import from the working directory.
ENV PATH=/opt/passgate/bin:/usr/local/bin:/usr/bin:/bin \
    PASSGATE_HOST=0.0.0.0 \
    PASSGATE_STATE_DIR=/var/lib/passgate \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1
WORKDIR /etc/passgate
VOLUME /var/lib/passgate
EXPOSE 8787
USER 10001:10001

# http.client and not urllib, which would ask a proxy that the environment names. A port that
# is set in passgate.toml is said here too, as PASSGATE_PORT.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import http.client as h, os; c = h.HTTPConnection('127.0.0.1', int(os.environ.get('PASSGATE_PORT', '8787')), timeout=4); c.request('GET', '/health'); raise SystemExit(c.getresponse().status != 200)"]

ENTRYPOINT ["passgate"]
CMD ["serve"]
