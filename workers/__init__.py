"""The Celery worker: it claims jobs, runs them on an engine, and reports what became of them."""
