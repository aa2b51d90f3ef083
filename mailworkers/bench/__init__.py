"""Measuring: the real roles on throwaway stores, from the stream to a sink of our own.

`scenarios/` has one module for each question that is measured; what they share is beside it:
`testbed.py` (stores, sink and roles), `commands.py` and `producer.py` (what goes in), `sink.py` and
`sinks.py` (where it comes out), `arrivals.py` (whether each came once), `cpu.py` (what it cost),
`figures.py` (medians and spread).
"""
