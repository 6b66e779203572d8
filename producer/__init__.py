"""The HTTP front: parse, admit, record, hint; then answers, streams and lists."""
