"""PHONE CALLS: when people are called, the calls, and what was said."""
