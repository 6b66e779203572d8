-- DROP_FILE: forget a file. Its content is the caller's to delete.
-- KEYS   none
-- ARGV   1 id
-- RETURN 1, or 0 when there was none
redis.call('ZREM', key.files(), ARGV[1])
redis.call('ZREM', key.files_expiring(), ARGV[1])
return redis.call('DEL', key.file(ARGV[1]))
