# The market in one image; what runs is the command: serve, worker, beat, migrate, emulate. No compiler, no root.
FROM node:22-slim AS assets
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts --omit=dev --no-audit --no-fund

FROM python:3.12-slim AS build
WORKDIR /src
COPY requirements requirements
RUN sh requirements/bootstrap.sh /opt/goodput \
 && /opt/goodput/bin/uv pip install --python /opt/goodput/bin/python --require-hashes -r requirements/runtime.lock
COPY . .
COPY --from=assets /src/node_modules node_modules
RUN /opt/goodput/bin/python requirements/assets.py --copy-only \
 && /opt/goodput/bin/uv pip install --python /opt/goodput/bin/python --no-deps --no-build-isolation .

FROM python:3.12-slim
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/goodput goodput
COPY --from=build /opt/goodput /opt/goodput
ENV PATH=/opt/goodput/bin:$PATH PYTHONUNBUFFERED=1 GOODPUT_HOST=0.0.0.0 GOODPUT_DATA_DIR=/var/lib/goodput GOODPUT_ENGINE=none
USER goodput
WORKDIR /var/lib/goodput
EXPOSE 8000
ENTRYPOINT ["goodput"]
CMD ["serve"]
