"""Drills: one thing goes wrong for a while, under a steady load; what must be told, and must hold.

`catalog` says what there is, `needs` whether it can be done here. `playing` leads one: `acts` does
what goes wrong, `lookout` watches alarms and backlog, `session` keeps the log of it; the verdict is
of `judging.drill`, beside that of the ledgers. `here` is the one that is done to an installation.
"""
