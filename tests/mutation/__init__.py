"""Is every guard of the moving statements missed when it is gone?

For each condition of each statement that moves deliveries one *mutant* is made, the same statement
without it, and the tests that run the statement must find out. `python -m tests.mutation` does this
for all of them, on one PostgreSQL and in one process; docs/reliability.md says how to read it.
"""
