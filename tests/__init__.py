"""Tests of whole processes from outside, by the official clients and by raw sockets."""
