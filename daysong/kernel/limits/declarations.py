"""LIMITS: all of them, on one page. `LIMIT_<NAME>` in the environment sets another one, such as `LIMIT_SUNO=20/10s`.

`off` lifts a limit. In test mode none is on, unless DAYSONG_TEST_LIMITS=1.
"""

from __future__ import annotations

from daysong.kernel.limits.rates import Rate

# Requests to vendors, over all processes. Callers wait in line; jobs for which the line is too long come back later.
OUTBOUND = {
    "suno": Rate(20, 10, strict=True),  # as published, also by kie
    "kie": Rate(20, 10, strict=True),
    "revenuecat": Rate(480, 60, strict=True),  # as published for customers
    "openai": Rate(500, 60, strict=True),  # of an account's first tier
    "vapi": Rate(120, 60, strict=True),  # not published
    "clerk": Rate(900, 10, strict=True),  # 1,000 are published for production; keys for tokens are not counted
    "expo": Rate(600, 1, strict=True),  # as published for a project
}
