"""Rate limits, daily budgets and worker lanes.

    declarations.py   all limits on one page
    rates.py          what a rate is, and its arithmetic (GCRA)
    store.py          rates in PostgreSQL: one row each, one statement per reservation
    lines.py          outbound: requests to a vendor queue for its rate
    buckets.py        inbound: requests over the limit are rejected or delayed
    budgets.py        money: reservations and recorded costs
    counters.py       money: the counters of a day, and their caps
    lanes.py          shares of the worker's slots
    errors.py         errors raised when a limit is reached

Rates use PostgreSQL's clock, so processes on several machines agree on the time.
"""
