"""The feeder: a process that feeds the lines of batches to the queues, a window at a time."""
