"""What crosses a process boundary: the job record, its states, keys, queues, settings, store and errors."""
