"""The configuration files of a cluster: Patroni, HAProxy, PgBouncer. A machine of one's own needs the same lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

HOST = "127.0.0.1"
DATABASE = "daysong"
# Of Patroni: seconds. A node that says nothing for TTL has lost its lead; Patroni asks for a ttl of loop_wait + 2 *
# retry_timeout at least. On real machines 10 or more, so that a busy one is not taken for a dead one.
TTL, LOOP_WAIT, RETRY_TIMEOUT = 5, 1, 2


class Node(NamedTuple):
    """One PostgreSQL server and the Patroni that runs it."""

    name: str
    folder: Path
    postgres: int
    rest: int


class Ports(NamedTuple):
    """Where the parts listen; `step` after `first` is free for the next."""

    etcd: tuple[tuple[int, int], ...]
    nodes: tuple[tuple[int, int], ...]
    primary: int
    standbys: int
    pooler: int
    web: int
    serves: tuple[int, ...]
    works: tuple[int, ...]
    s3: int
    vendors: int


def ports_from(first: int, *, etcd: int = 3, nodes: int = 3, serves: int = 2, works: int = 2) -> Ports:
    """Return ports one after another, from `first` on."""
    numbers = iter(range(first, first + 100))
    return Ports(
        etcd=tuple((next(numbers), next(numbers)) for _ in range(etcd)),
        nodes=tuple((next(numbers), next(numbers)) for _ in range(nodes)),
        primary=next(numbers),
        standbys=next(numbers),
        pooler=next(numbers),
        web=next(numbers),
        serves=tuple(next(numbers) for _ in range(serves)),
        works=tuple(next(numbers) for _ in range(works)),
        s3=next(numbers),
        vendors=next(numbers),
    )


def patroni(node: Node, etcd: list[str], programs: Path) -> str:
    """Return the configuration of one node. JSON is YAML."""
    bootstrap: dict[str, Any] = {
        "dcs": {
            "ttl": TTL,
            "loop_wait": LOOP_WAIT,
            "retry_timeout": RETRY_TIMEOUT,
            # A commit is answered once another node has it on disk, always: without such a node no commit ends.
            "synchronous_mode": True,
            "synchronous_mode_strict": True,
            # A server that crashed is not waited for: another takes over.
            "primary_start_timeout": 0,
            "postgresql": {
                "use_pg_rewind": True,
                "parameters": {
                    "max_connections": 100,
                    "wal_log_hints": "on",
                    "shared_buffers": "64MB",
                    # How long a standby waits before it connects to the new primary; by default 5 s, in which no commit
                    # of a synchronous cluster ends.
                    "wal_retrieve_retry_interval": "500ms",
                    # A client that is gone for ten seconds is gone, as daysong has it for its side.
                    "tcp_keepalives_idle": 5,
                    "tcp_user_timeout": 10_000,
                },
            },
        },
        "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, "data-checksums"],
        "pg_hba": [f"host all all {HOST}/32 trust", f"host replication all {HOST}/32 trust"],
    }
    whole = {
        "scope": "daysong",
        "name": node.name,
        "restapi": {"listen": f"{HOST}:{node.rest}", "connect_address": f"{HOST}:{node.rest}"},
        "etcd3": {"hosts": etcd},
        "bootstrap": bootstrap,
        "postgresql": {
            "listen": f"{HOST}:{node.postgres}",
            "connect_address": f"{HOST}:{node.postgres}",
            "data_dir": str(node.folder / "data"),
            "bin_dir": str(programs),
            "pgpass": str(node.folder / "pgpass"),
            "authentication": {
                "superuser": {"username": "postgres", "password": "postgres"},
                "replication": {"username": "replicator", "password": "replicator"},
            },
            "parameters": {"unix_socket_directories": str(node.folder)},
        },
        "watchdog": {"mode": "off"},
        "tags": {"nofailover": False, "noloadbalance": False, "clonefrom": False, "nosync": False},
    }
    return json.dumps(whole, indent=2) + "\n"


def haproxy(ports: Ports, nodes: list[Node]) -> str:
    """Return a configuration that leads to the primary at one port, to its standbys at another, and to the servers that
    are ready at a third.
    """
    databases = "\n".join(f"    server {node.name} {HOST}:{node.postgres} check port {node.rest}" for node in nodes)
    serves = "\n".join(f"    server serve{at} {HOST}:{port} check" for at, port in enumerate(ports.serves, 1))
    return f"""global
    maxconn 4000

defaults
    timeout connect 2s
    timeout client 1h
    timeout server 1h
    timeout check 1s

# Patroni answers 200 to /primary on the node that leads, and 503 on the others.
listen primary
    bind {HOST}:{ports.primary}
    mode tcp
    option httpchk GET /primary
    http-check expect status 200
    default-server inter 300ms fall 2 rise 1 on-marked-down shutdown-sessions
{databases}

# /replica answers 200 on a standby that runs.
listen standbys
    bind {HOST}:{ports.standbys}
    mode tcp
    balance leastconn
    option httpchk GET /replica
    http-check expect status 200
    default-server inter 300ms fall 2 rise 1 on-marked-down shutdown-sessions
{databases}

frontend web
    bind {HOST}:{ports.web}
    mode http
    timeout client 60s
    option forwardfor
    use_backend sockets if {{ path_end /sync }}
    default_backend serves

backend serves
    mode http
    balance leastconn
    timeout server 60s
    timeout tunnel 1h
    option httpchk GET /readyz
    http-check expect status 200
    default-server inter 500ms fall 3 rise 1
{serves}

# Sockets stay open while the database is away, and new ones wait for it there: /readyz would turn them away, and their
# clients would wait ever longer before they try again.
backend sockets
    mode http
    balance leastconn
    timeout server 60s
    timeout tunnel 1h
    option httpchk GET /healthz
    http-check expect status 200
    default-server inter 500ms fall 3 rise 1
{serves}
"""


def pgbouncer(ports: Ports) -> str:
    """Return the configuration of a pooler in transaction mode that reaches the primary through HAProxy."""
    return f"""[databases]
{DATABASE} = host={HOST} port={ports.primary} dbname={DATABASE} user={DATABASE}

[pgbouncer]
listen_addr = {HOST}
listen_port = {ports.pooler}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 30
max_client_conn = 500
; By default a pooler that found no server waits 15 s before it looks again.
server_login_retry = 0.3
server_connect_timeout = 3
query_wait_timeout = 5
tcp_keepidle = 5
tcp_keepintvl = 2
tcp_keepcnt = 3
tcp_user_timeout = 10000
"""
