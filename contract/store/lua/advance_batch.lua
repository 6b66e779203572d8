-- ADVANCE_BATCH: write what a feeder has found out, and move its batch to another state. One that
-- is being cancelled ends as cancelled, or failed: it moves nowhere else.
-- KEYS   none
-- ARGV   1 id, 2 attempt, 3 new state or '' to stay, 4 1 when that is an end, 5.. fields, values
-- RETURN its state after the call, or '' when the attempt is stale or the batch has ended
local id, attempt, state, ends = unpack(ARGV, 1, 4)
local batch = redis.call('HMGET', key.batch(id), 'attempt', 'state')
if batch[1] ~= attempt or not redis.call('ZSCORE', key.open_batches(), id) then return '' end
if #ARGV > 4 then redis.call('HSET', key.batch(id), unpack(ARGV, 5)) end
redis.call('HSET', key.batch(id), 'failures', 0)
local refused = batch[2] == 'cancelling' and state ~= 'cancelled' and state ~= 'failed'
if state == '' or state == batch[2] or refused then return batch[2] end
redis.call('HSET', key.batch(id), 'state', state, 'entered:' .. state, now_ms())
if ends == '1' then redis.call('ZREM', key.open_batches(), id) end
return state
