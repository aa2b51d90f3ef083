"""Faults of time, of hosts, of supervision and of commands, on real roles and servers.

docs/faults/operation.md says which fault of the list each test is for.
"""
