"""Seeded fuzzers; the tests beside them are short runs of both.

`python -m tests.fuzz.commands` sends hostile commands, `python -m tests.fuzz.smtp` talks SMTP to
relays that say anything at all.
"""
