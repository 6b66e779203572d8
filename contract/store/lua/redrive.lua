-- REDRIVE: a dead letter waits again, with its counts of failures and losses forgotten.
-- KEYS   none
-- ARGV   1 id, 2 nonce: a repeated call with the same one finds its own work and says 1
-- RETURN 1 redriven, 0 not a dead letter, nil unknown
local id = ARGV[1]
local job = get(id, 'state', 'dead', 'sequence', 'attempt', 'redriven', 'queue', 'model',
  'model_version', 'digest')
if not job[1] then return nil end
if job[5] == ARGV[2] then return 1 end
if job[1] ~= 'failed' or job[2] ~= '1' then return 0 end
redis.call('ZREM', key.dead(), id)
redis.call('ZREM', key.expiring(), id)
redis.call('HDEL', key.job(id), 'dead', 'error', 'finished_ms', 'expires_ms', 'fingerprint',
  'deadline_ms', 'worker', 'progress', 'started_ms', 'tainted', 'unheard')
redis.call('HSET', key.job(id), 'failures', 0, 'losses', 0, 'lone_losses', 0,
  'redriven', ARGV[2])
move(id, job[3], 'failed', 'queued')
emit(id, 'status', job[4], '{"status":"queued","cause":"redriven"}')
enqueue(id)
name_queue(unpack(job, 6, 9)) -- the reaper may have forgotten it
count('jobs_redriven')
return 1
