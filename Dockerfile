ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
COPY deploy/install.sh deploy/install.sh
COPY requirements.lock ./
RUN deploy/install.sh /opt/pinhole requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY providers providers
RUN deploy/install.sh /opt/pinhole requirements.lock wheel

FROM ${PYTHON_IMAGE}
# The folder is made here so that a fresh volume takes its owner from it.
RUN install -d -o 10001 -g 10001 -m 0750 /var/lib/pinhole
COPY --from=build /opt/pinhole /opt/pinhole
ENV PATH=/opt/pinhole/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PINHOLE_HOST=0.0.0.0 \
    PINHOLE_PORT=8080 \
    PINHOLE_DATA_DIR=/var/lib/pinhole
USER 10001:10001
WORKDIR /var/lib/pinhole
VOLUME /var/lib/pinhole
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['PINHOLE_PORT']), timeout=4); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["pinhole"]
CMD ["serve"]
