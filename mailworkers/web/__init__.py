"""HTTP: the internal API for trusted services and operators, and the monitor's signs of life.

gate        who may talk to the API at all     tokens      API tokens and their scopes
intake      taking commands in                 deliveries  what became of them
app         the API put together               ops         /health, /ready, /metrics
serving     listeners, threads, stop           protocol    HTTP with bounds
errors      the one shape of every error       openapi     the description, generated
"""
