"""What the queue itself costs, with handlers that do nothing or sleep, beside other queues."""
