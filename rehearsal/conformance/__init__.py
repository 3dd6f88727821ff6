"""Functions that prove how a client behaves: counters, lists, failures, echoes.

A server in test mode has them with `DAYSONG_TEST_FUNCTIONS=rehearsal.conformance`.
"""

from rehearsal.conformance.functions import MODULES, create_tables

__all__ = ["MODULES", "create_tables"]
