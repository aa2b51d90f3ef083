"""mailworkers: durable mail delivery from a Redis Stream or HTTP, through PostgreSQL, over SMTP."""

__version__ = "0.1.0"
