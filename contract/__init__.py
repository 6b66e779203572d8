"""What crosses a process boundary: job record, states, keys, queues, settings, store, errors."""
