"""The workers: a Celery task supervises, a child process trains, and the database alone decides."""
