# The same image from Debian alone: the base of the other Dockerfile is only in the test cluster.
FROM docker.io/library/debian:bookworm-slim AS base
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates git python3 python3-pymysql python3-redis \
    && rm -rf /var/lib/apt/lists/*

FROM base AS build
WORKDIR /src
COPY . .
# The page shows the commit that it was built from.
RUN git -c safe.directory=/src rev-parse HEAD > commit || echo unknown > commit
RUN mkdir /app && cp click.py /app/__main__.py && cp commit /app/ \
    && python3 -m zipapp /app --output /aurora-test --python "/usr/bin/env python3"

FROM base
COPY --from=build --chmod=755 /aurora-test /srv/aurora-test
USER 65534:65534
EXPOSE 3000
CMD ["/srv/aurora-test", "start"]
