"""The SMTP grid: every phase of a session against every way a relay can misbehave there.

`behaviours.py` has the columns, `places.py` the rows, `rules.py` what must come of each cell,
`testbed.py` the senders, relays and the database it is tried on, `test_smtp_grid.py` beside this
folder the tests.
"""
