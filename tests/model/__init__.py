"""The protocol as a model: clock, stores, wire and deaths are ours, decisions are the product's.

A *world* holds deliveries, senders with their journals, a relay and a clock. A *schedule* is a list
of steps, each one line of what some process does, or one fault: a kill between any two lines, a
freeze past the lease, a lost answer to a COMMIT, a statement that lands late, a reboot. What
senders, adopters and the scheduler decide comes from `mailworkers.core`; what statements do comes
from `MemoryStore`, which is compared, row by row, with the real ones (`test_lockstep.py`).

`python -m tests.model --schedules 100000 --seed 7` walks that many random schedules; a failure is
shrunk to the few steps that matter and printed with its seed.
"""
