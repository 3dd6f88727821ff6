"""Tests from outside: of whole processes, by clients that are not ours."""
