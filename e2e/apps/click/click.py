"""Counts clicks in MySQL and in Redis. Each request adds one to both counters and shows them with the commit that the
program was built from; without one of the two databases the answer is 503. Settings: DB_HOST, REDIS_HOST, MYSQL_USER,
MYSQL_PASSWORD, MYSQL_DATABASE, and PORT (3000)."""

import json
import os
import pkgutil
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pymysql
import redis

TIMEOUT = 2  # seconds for a database to answer


def built_from():
    """The commit that the build wrote beside this file; a program that was not built has none."""
    try:
        return pkgutil.get_data("__main__", "commit").decode().strip()
    except OSError:
        return "unknown"


COMMIT = built_from()


def count_in_mysql():
    """Adds a click and returns how many there are. The table is made with the first one."""
    connection = pymysql.connect(
        host=os.environ["DB_HOST"],
        user=os.environ["MYSQL_USER"],
        password=os.environ["MYSQL_PASSWORD"],
        database=os.environ["MYSQL_DATABASE"],
        connect_timeout=TIMEOUT,
        read_timeout=TIMEOUT,
        autocommit=True,
    )
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS clicks (id INT PRIMARY KEY, number BIGINT NOT NULL)")
        cursor.execute("INSERT INTO clicks VALUES (1, 1) ON DUPLICATE KEY UPDATE number = number + 1")
        cursor.execute("SELECT number FROM clicks WHERE id = 1")
        return cursor.fetchone()[0]


def count_in_redis():
    """Adds a click and returns how many there are."""
    with redis.Redis(os.environ["REDIS_HOST"], socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT) as client:
        return client.incr("clicks")


class Page(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        try:
            status, answer = 200, {"mysql": count_in_mysql(), "redis": count_in_redis(), "commit": COMMIT}
        except (pymysql.Error, redis.RedisError) as error:
            status, answer = 503, {"error": str(error), "commit": COMMIT}
        body = (json.dumps(answer) + "\n").encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def start():
    server = ThreadingHTTPServer(("", int(os.environ.get("PORT", "3000"))), Page)
    # shutdown() waits for serve_forever, which runs in this thread.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"listening on port {server.server_port}, built from {COMMIT}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1:] != ["start"]:
        sys.exit("usage: aurora-test start")
    start()
