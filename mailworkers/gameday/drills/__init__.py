"""Drills: one thing goes wrong for a while, under a steady load; what must be told, and must hold.

`catalog` says what there is, `needs` whether it can be done here. `playing` starts one as
`asking` says, `course` leads it: `acts` does what goes wrong in a `scene`, `lookout` watches alarms
and backlog, `session` keeps the log; the verdict is of `judging.drill`, beside that of the ledgers.
`here` is the one that is done to an installation.
"""
