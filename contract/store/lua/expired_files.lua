-- EXPIRED_FILES: files whose time is over.
-- KEYS   none
-- ARGV   1 most
-- RETURN their ids
return redis.call('ZRANGEBYSCORE', key.files_expiring(), '-inf', now_ms(), 'LIMIT', 0, ARGV[1])
