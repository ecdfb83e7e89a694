# One image for every part of Grid SMC; which part runs is the command (see docker-compose.yml).
FROM python:3.11.14-slim-bookworm

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN groupadd --gid 10001 grid && useradd --uid 10001 --gid grid --no-create-home --home-dir /data grid \
    && install -d -o grid -g grid -m 0700 /data

WORKDIR /app
COPY requirements/run.lock requirements/run.lock
RUN pip install --require-hashes -r requirements/run.lock
COPY . .

USER grid
VOLUME /data
ENTRYPOINT ["python", "app.py"]
CMD ["--help"]
