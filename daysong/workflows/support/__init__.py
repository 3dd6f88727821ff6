"""What operators do: find people, songs, calls, jobs and events, act on them, and count.

The console and the command line call these functions. Every action, and every look at what a person wrote, is recorded
in the audit log in its own transaction (audit.py).
"""
