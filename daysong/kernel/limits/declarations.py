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

# Of callers, over all processes, but for what a process may have reserved in bulk. `…_account` counts a signed-in
# account, `…_viewer` an address (of IPv6, a household), the others the whole installation. Generous for people.
INBOUND = {
    "requests_viewer": Rate(3000, 60),  # any over HTTP; an office may share an address
    "requests_account": Rate(1200, 60),  # functions over HTTP
    "bytes_viewer": Rate(128 * 2**20, 60),  # of bodies
    "writes_account": Rate(240, 60),  # mutations and actions
    "writes_viewer": Rate(600, 60),
    "songs_account": Rate(30, 600),  # starts, also those refused for want of a quota
    "songs_viewer": Rate(120, 600),
    "songs": Rate(6000, 600),
    "sign_ups_viewer": Rate(30, 3600),  # accounts made on first sight of somebody
    "sign_ups": Rate(3000, 3600),
    "share_views_viewer": Rate(120, 60),
    "runs_account": Rate(6000, 60),  # of subscribed queries: beyond it they wait
    "runs_viewer": Rate(6000, 60),
    "sockets_viewer": Rate(300, 60),  # opened
    "webhooks_viewer": Rate(60, 60),  # that fail verification
    "guesses_viewer": Rate(10, 60),  # at the admin key
}

# Which function counts as what; every other mutation and action is a write, and queries are only requests.
FUNCTIONS = {
    "music:startDiaryMusicGeneration": "songs",
    "callSettings:sendTestCall": "songs",
    "sharing:recordShareView": "share_views",
}

# Sockets of one address, open at the same time in one process.
SOCKETS_AT_ONCE = 100
