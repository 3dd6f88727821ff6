"""Limits: how often vendors are asked, what may be spent, who may run how many jobs, and how much a caller may ask.

    declarations.py   all limits on one page
    rates.py          what a rate is, and its arithmetic
    store.py          rates in PostgreSQL: one row each, one statement for each reservation
    lines.py          outbound: callers wait in line for a vendor
    buckets.py        inbound: callers are refused, or made to wait
    budgets.py        money: caps, reservations, and what was spent
    lanes.py          shares of the worker's slots
    errors.py         what a caller or the worker gets when a limit is reached

The times of rates are PostgreSQL's: processes on several machines have one clock there.
"""
