"""All rate limits. `LIMIT_<NAME>` in the environment overrides one, such as `LIMIT_SUNO=20/10s`; `off` disables it.

In test mode all are off, unless DAYSONG_TEST_LIMITS=1.
"""

from __future__ import annotations

from daysong.kernel.limits.rates import Rate

# Requests to vendors, over all processes. They wait in line; jobs for which the line is too long are deferred.
OUTBOUND = {
    "suno": Rate(20, 10, strict=True),  # as published, also by kie
    "kie": Rate(20, 10, strict=True),
    "revenuecat": Rate(480, 60, strict=True),  # as published for customers
    "openai": Rate(500, 60, strict=True),  # of an account's first tier
    "vapi": Rate(120, 60, strict=True),  # not published
    "clerk": Rate(900, 10, strict=True),  # 1,000 are published for production; JWKS requests are not counted
    "expo": Rate(600, 1, strict=True),  # as published for a project
}

# Requests from callers, over all processes, exact except for what processes reserve in bulk. `…_account` counts per
# signed-in account, `…_viewer` per address (IPv6: per household network), others for the whole installation. All are
# well above what people need.
INBOUND = {
    "requests_viewer": Rate(3000, 60),  # any HTTP request; an office may share an address
    "requests_account": Rate(1200, 60),  # functions over HTTP
    "bytes_viewer": Rate(128 * 2**20, 60),  # of bodies
    "upload_bytes_viewer": Rate(4 * 2**30, 3600),  # of photos and videos
    "writes_account": Rate(240, 60),  # mutations and actions
    "writes_viewer": Rate(600, 60),
    "songs_account": Rate(30, 600),  # starts, including those refused by a quota
    "songs_viewer": Rate(120, 600),
    "songs": Rate(6000, 600),
    "sign_ups_viewer": Rate(30, 3600),  # accounts created on a first request
    "sign_ups": Rate(3000, 3600),
    "share_views_viewer": Rate(120, 60),  # and views of the blog
    "invitations_viewer": Rate(30, 3600),  # attempts; five of an hour are saved
    "invitations": Rate(2000, 3600),
    "runs_account": Rate(6000, 60),  # of subscribed queries; further runs are delayed
    "runs_viewer": Rate(6000, 60),
    "sockets_viewer": Rate(300, 60),  # opened
    "webhooks_viewer": Rate(60, 60),  # failed verifications
    "guesses_viewer": Rate(10, 60),  # wrong admin keys
}

# The limit each function counts against; other mutations and actions are `writes`, and queries only `requests`.
FUNCTIONS = {
    "music:startDiaryMusicGeneration": "songs",
    "videoActions:startVideoGeneration": "songs",
    "callSettings:sendTestCall": "songs",
    "sharing:recordShareView": "share_views",
    "blog:incrementViewCount": "share_views",
    "emailNotify:addEmailNotification": "invitations",
}

# Open sockets per address in one process.
SOCKETS_AT_ONCE = 100
