"""The verdict over a run, from ledgers, tables, Redis and logs.

Shares no code with the service, nor with what drives a game day: nothing of mailworkers outside
this package is imported here, and a test holds that. The run is judged part by part, so that a
million messages need no more memory than some thousand.
"""
