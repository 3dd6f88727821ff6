"""What commands may be given. Light to import: `daysong --help` reads this and `cli.py`, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

DATA_DIR = Path(".daysong")
DEFAULT_PORT = 8000
LOOPBACK = "127.0.0.1"
# What the demo makes a song of.
ENTRY = "I walked home in the rain and called my sister"

DataDir = Annotated[Path, Parameter(env_var="DAYSONG_DATA_DIR", help="Where database and files are kept.")]
Port = Annotated[int, Parameter(help="Where to listen; 0 for any free port.", validator=Number(gte=0, lte=65_535))]
Processes = Annotated[int, Parameter(help="How many share the port.", validator=Number(gte=1, lte=64))]
Host = Annotated[str, Parameter(help="The address to listen on; 0.0.0.0 for every one.")]
MetricsPort = Annotated[
    int, Parameter(help="Answer /metrics, /healthz and /readyz there.", validator=Number(gte=0, lte=65_535))
]
Drain = Annotated[
    int, Parameter(help="Seconds that /readyz answers 503 before it stops.", validator=Number(gte=0, lte=300))
]
WithSandbox = Annotated[
    bool, Parameter(negative=(), help="Play vendors whose keys are not set, for staging; never for real users.")
]
SandboxUrl = Annotated[str, Parameter(help="Where `serve --with-sandbox` is reached from here.")]
Limit = Annotated[int, Parameter(help="How many at most.", validator=Number(gte=1, lte=100_000))]
Json = Annotated[bool, Parameter(name="--json", negative=(), help="As JSON, for programs.")]
CostsBy = Literal["day", "account", "vendor"]
JobStatus = Literal["queued", "running", "done", "dead"]
