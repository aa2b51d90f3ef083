"""Game days: what goes wrong in production, done on purpose to an installation of their own.

    mailworkers gameday run chaos --messages 5000 --kills 40 --seed 7

`chaos`, `restarts` and `duplicates` are the days. `running` leads one: `plan` draws the faults,
`load` sends `commands` and does what operators do, `sink` receives the mail, `service` is what is
tested, `faults` hurts it, `observer` looks on. `judging` reads what they all wrote down and shares
no code with the service.
"""
