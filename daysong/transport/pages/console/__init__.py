"""/console: what operators see and do, as pages that work without scripts. See routes.py."""
