-- ABANDON: the last words of a worker whose process is about to end: why it is lost. The next REAP
-- moves its jobs with that cause, and does not wait until the worker is missed.
-- KEYS   none
-- ARGV   1 worker, 2 lease in ms, 3 cause
-- RETURN 1 heard, 0 the worker is not registered: its jobs were moved before
-- A write that takes no memory comes first: a full Redis must hear this too.
if redis.call('PEXPIRE', key.worker(ARGV[1]), 3 * tonumber(ARGV[2])) == 0 then return 0 end
redis.call('HSET', key.worker(ARGV[1]), 'cause', ARGV[3], 'state', 'draining')
return 1
