"""The chaos run: load, seeded faults, heal, and a verdict that shares no code with the service.

    python -m tests.crash.chaos --messages 5000 --kills 40 --seed 7

`plan` draws the faults, `load` sends `commands`, `sink` receives mail, `service` is what is tested,
`faults` hurts it, `run` leads; `evidence` is what they all wrote down, `verdict` judges it.
"""
