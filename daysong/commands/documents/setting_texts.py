"""What each setting is for, by subject; `daysong settings` writes docs/SETTINGS.md of it."""

from __future__ import annotations

from collections.abc import Mapping

# Texts are Markdown, seen from `docs/`.
SETTINGS: Mapping[str, Mapping[str, str]] = {
    "Process": {
        "DAYSONG_ENV": (
            "`development` or `production`. Production hides the texts of unexpected errors, writes "
            "logs as JSON, trusts no local address, and is strict about settings"
        ),
        "MODULES": (
            "the parts that are on, by commas, of `phone`, `billing`, `video`, `push`, `memory`, "
            "`blog`, `invitations`; or `none`: see [Parts](../README.md#parts)"
        ),
        "DAYSONG_DATA_DIR": "the folder of the embedded database, files and the sandbox",
        "SITE_URL": ("the public address of this server: vendors call it back, media links start with it"),
        "SHARE_BASE_URL": "what share links start with",
        "TZDATA_DIR": (
            "a folder of compiled time zones, such as `/usr/share/zoneinfo`, read at start and used "
            "where it is newer than the installed package `tzdata`; calls are then planned anew "
            "within the hour. The log and `daysong doctor` name version and age of the data, with a "
            "warning beyond 120 days"
        ),
        "RETENTION_DAYS": (
            "how long rows are kept that are over: `rows=days` with commas between them, such as "
            "`jobs=14,webhook_events=60`. The rows are [below](#rows-and-how-long-they-are-kept)"
        ),
    },
    "Database and storage": {
        "DATABASE_URL": "PostgreSQL",
        "DATABASE_DIRECT_URL": (
            "the same database without the pooler, for what a pooler in transaction mode cannot do: "
            "`LISTEN`, the queue, migrations. Setting it says that `DATABASE_URL` is such a pooler"
        ),
        "DATABASE_REPLICA_URL": (
            "one streaming standby of that database, without a pooler in transaction mode: shared songs, the blog and "
            "statistics are read there, as [Scaling](SCALING.md#a-replica-for-reads) says"
        ),
        "DATABASE_REPLICA_MAX_LAG": (
            "seconds that the replica may be behind: beyond, everything is read from the primary"
        ),
        "DATABASE_POOL": (
            "connections of one `serve` (its processes share them) and of one `work`, which has 4 "
            "more for the queue; each process of `serve` also listens on one. Two releases side by "
            "side fit into PostgreSQL's usual 100. The replica has as many"
        ),
        "DATABASE_STATEMENT_CACHE": "prepared statements kept by each connection",
        "STORAGE_URL": (
            "audio, covers, photos and videos: a folder, or a bucket such as `s3://bucket/prefix` "
            "with its credentials in the environment. On the way to a bucket an upload is in a "
            "temporary file (`TMPDIR`, up to 250 MiB for each of 96 at a time)"
        ),
        "MEDIA_ACCEL": (
            "a path such as `/stored`, where nginx has the folder of `STORAGE_URL` as an internal location: nginx "
            "then sends songs, photos and videos itself (`X-Accel-Redirect`), as in "
            "[deploy/nginx/daysong.conf](../deploy/nginx/daysong.conf). Every client must come through that nginx"
        ),
        "MEDIA_REDIRECT": (
            "`1` to have songs, covers and music videos fetched from the bucket of `STORAGE_URL` (S3 alone): their "
            "addresses redirect to a signed one, good for half an hour, which a revoked share or a deleted song "
            "outlives by that time at most. Owners' addresses are signed, too: an id alone opens no file. Photos and "
            "videos of entries still come through daysong. "
            "[What the bucket needs](DEPLOY_MANY.md#songs-from-the-bucket)"
        ),
        "MEDIA_REDIRECT_ENDPOINT": (
            "where clients reach the bucket's server, such as `https://s3.example.com`, if that is not `AWS_ENDPOINT`; "
            "the bucket's name follows in the path"
        ),
        "MEDIA_STORAGE": "MiB of photos and videos, for plans that are to grant others: `plan=MiB,…`",
    },
    "Secrets and access": {
        "DAYSONG_ADMIN_KEY": "opens internal functions and acting as a person; any long random text",
        "DAYSONG_ADMIN_KEY_OLD": (
            "further values of this secret that are accepted while it is [replaced](SECRETS.md): "
            "separated by commas, or each on its own line"
        ),
        "DAYSONG_HASH_KEY": (
            "keys the hashes of phone numbers that refused calls and of deleted accounts; any long "
            "random text. To [replace it](SECRETS.md), keep its earlier values in "
            "`DAYSONG_HASH_KEY_OLD` as long as `daysong doctor` says that rows need them"
        ),
        "DAYSONG_HASH_KEY_OLD": (
            "earlier values of the hash key, by which rows are still found; written as `DAYSONG_ADMIN_KEY_OLD`"
        ),
        "TRUSTED_PROXIES": (
            "networks of reverse proxies, such as `10.0.0.0/8`: only theirs is the word for a "
            "client's address (`X-Forwarded-For`, or else `Forwarded`). Behind a proxy that is not "
            "named here all clients have its address, and share its limits"
        ),
        "CONSOLE": "`1`: operators may sign in at `/console` with the admin key",
    },
    "Monitoring": {
        "METRICS_FROM": (
            "networks (CIDR, separated by commas) from which `/metrics` is answered without the admin key"
        ),
        "SENTRY_DSN": (
            "where `serve` and `work` report errors, by the protocol of Sentry: "
            "`https://KEY@HOST/PROJECT`. A report is a log line of level error, without any text of a "
            "user"
        ),
    },
    "Clerk": {
        "CLERK_FRONTEND_API_URL": "who signs people in: the issuer of their tokens",
        "CLERK_PUBLISHABLE_KEY": "loads Clerk's script in the studio",
        "CLERK_SECRET_KEY": "deletes a person's sign-in with their account",
        "CLERK_WEBHOOK_SIGNING_SECRET": (
            "proves that a webhook is Clerk's: the endpoint's signing secret, `whsec_…`. Without it "
            "the endpoint answers 503"
        ),
        "CLERK_WEBHOOK_SIGNING_SECRET_OLD": (
            "further values of this secret that are accepted while it is [replaced](SECRETS.md): "
            "separated by commas, or each on its own line"
        ),
        "CLERK_JWKS_FILE": "the issuer's keys from a file instead of from the issuer",
        "CLERK_BASE_URL": "where Clerk's Backend API is",
    },
    "OpenAI": {
        "OPENAI_API_KEY": "writes the lyrics",
        "OPENAI_MODEL": "which model writes",
        "OPENAI_BASE_URL": "where OpenAI is",
        "OPENAI_FEATURES": (
            "optional parameters its server takes, by commas: `max_completion_tokens`, `max_tokens`, "
            "`store`, `safety_identifier`, `json_schema`; `none`"
        ),
    },
    "Suno": {
        "SUNO_API_KEY": "makes the tracks",
        "SUNO_MODEL": "which model sings",
        "SUNO_BASE_URL": "where Suno is",
        "SUNO_FILE_HOSTS": (
            "further hosts Suno's files may be fetched from, separated by commas; `*.example.com` "
            "stands for all below it"
        ),
    },
    "RevenueCat": {
        "REVENUECAT_API_KEY": "reads customers' purchases. Without it daysong relies on webhooks alone",
        "REVENUECAT_PROJECT_ID": "the project at RevenueCat. Without it version 1 of its API is asked",
        "REVENUECAT_WEBHOOK_SECRET": (
            "proves that a webhook is RevenueCat's: the whole `Authorization` header it is configured "
            "to send. Without it the endpoint answers 503"
        ),
        "REVENUECAT_WEBHOOK_SECRET_OLD": (
            "further values of this secret that are accepted while it is [replaced](SECRETS.md): "
            "separated by commas, or each on its own line"
        ),
        "REVENUECAT_WEBHOOK_HMAC_SECRET": (
            "what RevenueCat signs webhooks with, if it does; then the signature is checked as well"
        ),
        "REVENUECAT_WEBHOOK_HMAC_SECRET_OLD": (
            "further values of this secret that are accepted while it is [replaced](SECRETS.md): "
            "separated by commas, or each on its own line"
        ),
        "REVENUECAT_PRODUCTS": (
            "further products and their plans: `product=plan,…`, a plan being `free`, `weekly`, "
            "`monthly` or `yearly`. A promotion may be named without its duration "
            "(`rc_promo_premium`). A paid product in no map is logged as an error, counted in "
            "`daysong_unmapped_products_total`, and named by `daysong doctor`"
        ),
        "REVENUECAT_BASE_URL": "where RevenueCat is",
        "ACCEPT_SANDBOX": "`1` lets purchases of a store's own sandbox count",
    },
    "VAPI and calls": {
        "VAPI_API_KEY": "places phone calls. Without it no calls are placed",
        "VAPI_PHONE_NUMBER_ID": "the line at VAPI that calls go out from",
        "VAPI_WEBHOOK_SECRET": (
            "proves that a webhook is VAPI's: the bearer token of the credential below. Without it "
            "the endpoint answers 503"
        ),
        "VAPI_WEBHOOK_SECRET_OLD": (
            "further values of this secret that are accepted while it is [replaced](SECRETS.md): "
            "separated by commas, or each on its own line"
        ),
        "VAPI_CREDENTIAL_ID": (
            "the credential at VAPI that holds this secret; without it VAPI sends none, and every report is refused"
        ),
        "VAPI_BASE_URL": "where VAPI is",
        "VAPI_MAX_CONCURRENT_CALLS": "calls in flight at once, over all processes",
        "VAPI_MAX_CALL_MINUTES": "after which a talk is ended",
        "CALL_COUNTRIES": (
            "where numbers are called that are not proved yet, by their two letters: `US,CA`, or `*` for everywhere"
        ),
        "CALL_DAILY_LIMIT": "calls on a day (UTC) over all accounts",
        "CALL_MINUTES": ("minutes of talk in each period, for plans that are to grant others: `plan=minutes,…`"),
        "CALL_NUMBERS_ALLOWED": (
            "beginnings of phone numbers that may be called although libphonenumber does not know "
            "them yet, such as a new area code: `+1983,…`"
        ),
        "CALL_LATEST_MINUTES": "how late a call may be made; a later one is missed",
    },
    "Kie": {
        "KIE_API_KEY": "makes music videos. Without it there are none",
        "KIE_BASE_URL": "where Kie is",
        "KIE_WEBHOOK_HMAC_KEY": "what Kie signs callbacks with, if it does; then the signature is checked as well",
        "KIE_WEBHOOK_HMAC_KEY_OLD": (
            "further values of this secret that are accepted while it is [replaced](SECRETS.md): "
            "separated by commas, or each on its own line"
        ),
        "KIE_FILE_HOSTS": "further hosts Kie's videos may be fetched from, as for Suno",
    },
    "Expo": {
        "EXPO_ACCESS_TOKEN": ("sends push notifications for projects with Expo's enhanced security; others need none"),
        "EXPO_BASE_URL": "where Expo's push service is",
    },
    "Studio": {
        "FEATURED_SHARE_ID": "the share whose song the front page plays. Without it there is none",
        "UPGRADE_LINKS": (
            "where plans are bought, shown in the studio: `plan=https://…,…`. Without it nothing is shown"
        ),
    },
    "Costs": {
        "LIMIT_COST_DAY": (
            "dollars that all vendors together may cost in a day (UTC), or `off`. Beyond them no song "
            "is begun and no call is made, and callers get an error. At 80 % of any such cap but an "
            "account's there is a warning in the log"
        ),
        "LIMIT_COST_ACCOUNT": "the same for one account",
        "LIMIT_COST_OPENAI": "the same for OpenAI",
        "LIMIT_COST_SUNO": "the same for Suno",
        "LIMIT_COST_VAPI": "the same for VAPI",
        "LIMIT_COST_KIE": "the same for Kie",
        "COST_OPENAI_INPUT": "micro-dollars of a million tokens of input",
        "COST_OPENAI_OUTPUT": "micro-dollars of a million tokens of output",
        "COST_SUNO_SONG": "micro-dollars of one request, which makes two tracks",
        "COST_VAPI_MINUTE": "micro-dollars of a minute of a call whose report tells no cost",
        "COST_KIE_VIDEO": "micro-dollars of one clip",
    },
    "Rates": {
        "LIMIT_SUNO": "requests to Suno",
        "LIMIT_KIE": "requests to Kie",
        "LIMIT_REVENUECAT": "requests to RevenueCat",
        "LIMIT_OPENAI": "requests to OpenAI",
        "LIMIT_VAPI": "requests to VAPI",
        "LIMIT_CLERK": "requests to Clerk's Backend API",
        "LIMIT_EXPO": "requests to Expo",
        "LIMIT_REQUESTS_VIEWER": "HTTP requests of one address",
        "LIMIT_REQUESTS_ACCOUNT": "functions called over HTTP by one account",
        "LIMIT_BYTES_VIEWER": "bytes of bodies from one address",
        "LIMIT_UPLOAD_BYTES_VIEWER": "bytes of photos and videos from one address",
        "LIMIT_WRITES_ACCOUNT": "mutations and actions of one account",
        "LIMIT_WRITES_VIEWER": "mutations and actions of one address",
        "LIMIT_SONGS_ACCOUNT": "starts of songs, videos and test calls by one account, refused ones too",
        "LIMIT_SONGS_VIEWER": "the same by one address",
        "LIMIT_SONGS": "the same by all",
        "LIMIT_SIGN_UPS_VIEWER": "accounts made from one address by a first request",
        "LIMIT_SIGN_UPS": "the same by all",
        "LIMIT_SHARE_VIEWS_VIEWER": "counted views of shared songs and of the blog from one address",
        "LIMIT_INVITATIONS_VIEWER": "attempts of one address to be notified",
        "LIMIT_INVITATIONS": "the same by all",
        "LIMIT_RUNS_ACCOUNT": "runs of subscribed queries of one account; further runs are delayed",
        "LIMIT_RUNS_VIEWER": "the same for one address",
        "LIMIT_SOCKETS_VIEWER": "sockets opened by one address",
        "LIMIT_WEBHOOKS_VIEWER": "failed verifications of webhooks from one address",
        "LIMIT_GUESSES_VIEWER": "wrong admin keys from one address",
        "LIMIT_SOCKETS_AT_ONCE": "sockets of one address that are open at the same time in one process",
    },
    "Tests": {
        "DAYSONG_TEST": "`1` turns on [test mode](../README.md#test-mode)",
        "DAYSONG_TEST_LIMITS": "`1` turns limits on in test mode",
        "DAYSONG_TEST_FUNCTIONS": "a Python package whose functions test mode adds, such as `rehearsal.conformance`",
    },
}

# The rows of RETENTION_DAYS.
ROWS: Mapping[str, str] = {
    "jobs": "jobs that are done",
    "dead_jobs": "jobs that were given up",
    "queue_log": "what the queue logs",
    "webhook_events": "events that are handled",
    "unhandled_webhook_events": "events that are not",
    "answered_mutations": "answers to mutations of sockets",
    "diary_uploads": "upload addresses",
    "usage_charges": "charges that no song holds",
    "mailbox_usage": "used quota of mailboxes",
    "mailbox_minutes": "used minutes of mailboxes",
    "subscription_log": "changes of subscriptions",
    "parked_customers": "purchases of people without an account",
    "call_jobs": "calls",
    "call_days": "calls counted by day",
    "vendor_costs": "costs",
    "budget_reservations": "money reserved for work",
    "budget_days": "costs by day",
    "rate_limits": "counters of rates",
    "invitations": "addresses to be notified",
    "invitation_attempts": "attempts to be one",
    "push_occasions": "notifications",
    "imports": "progress of imports",
    "import_users": "imported accounts, for a run that goes on",
    "import_files": "imported files, likewise",
    "readings": "when entries were read for their events",
    "console_sessions": "sign-ins to the console",
    "usage_grants": "songs that an operator gave",
    "tombstones": "hashes of deleted accounts",
    "removals": "the journal of what was removed, for restores",
}

# Defaults that are no single value in the code.
DEFAULTS: Mapping[str, str] = {
    "DAYSONG_ENV": "`development`",
    "MODULES": "all",
    "DAYSONG_DATA_DIR": "`.daysong`",
    "SITE_URL": "`dev`: its own address",
    "SHARE_BASE_URL": "`SITE_URL`",
    "RETENTION_DAYS": "[below](#rows-and-how-long-they-are-kept)",
    "DATABASE_URL": "the embedded one, for all but `serve` and `work`",
    "DATABASE_STATEMENT_CACHE": "`100`; `0` with `DATABASE_DIRECT_URL`",
    "STORAGE_URL": "`files` in the data folder",
    "MEDIA_ACCEL": "none: daysong sends them",
    "MEDIA_REDIRECT": "off: daysong sends them",
    "MEDIA_REDIRECT_ENDPOINT": "that of `AWS_ENDPOINT`, or Amazon's",
    "DAYSONG_ADMIN_KEY": "`dev`: made once, in `admin-key` of the data folder",
    "DAYSONG_HASH_KEY": "`dev`: made once, in `hash-key` of the data folder",
    "CONSOLE": "on in development, off in production",
    "METRICS_FROM": "this machine; in production none",
    "CLERK_PUBLISHABLE_KEY": "the one of `CLERK_FRONTEND_API_URL`",
    "OPENAI_FEATURES": "all; one that is refused is left out",
    "SUNO_FILE_HOSTS": "none beyond those known",
    "KIE_FILE_HOSTS": "none beyond those known",
    "REVENUECAT_PRODUCTS": "those in `features/subscriptions/rules.py`",
    "CALL_COUNTRIES": "the country of the line, which VAPI tells",
}

# What the checks of the settings do not show by a missing value.
REQUIRED: Mapping[str, str] = {
    "DAYSONG_ENV": "set it in production",
    "DATABASE_DIRECT_URL": "behind a pooler in transaction mode",
    "DATABASE_URL": "always",
    "SITE_URL": "always; https in production",
    "SHARE_BASE_URL": "https in production",
    "STORAGE_URL": "with more than one machine",
    "MEDIA_REDIRECT_ENDPOINT": "https in production",
    "DAYSONG_ADMIN_KEY": "always; 16 characters or more in production",
    "DAYSONG_HASH_KEY": "always; 16 characters or more in production",
    "DAYSONG_TEST": "refused in production",
    "DAYSONG_TEST_FUNCTIONS": "refused in production",
}
