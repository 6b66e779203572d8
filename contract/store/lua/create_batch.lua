-- CREATE_BATCH: record a batch, for a feeder to lease. The same call twice is fine.
-- KEYS   none
-- ARGV   1 id, 2 endpoint, 3 input file, 4 window as it was given, 5 window in ms, 6 metadata as
--        JSON, 7 sha256 of the request, 8 seconds that its results are kept, or '' for as it is usual
-- RETURN its record as a flat list; an earlier one of the same id is left as it is
local id, endpoint, file, window, window_ms, metadata, body, output_ttl_s = unpack(ARGV)
if redis.call('EXISTS', key.batch(id)) == 0 then
  local now = now_ms()
  redis.call('HSET', key.batch(id), 'state', 'validating', 'endpoint', endpoint, 'input_file', file,
    'window', window, 'metadata', metadata, 'body', body, 'created_ms', now,
    'deadline_ms', now + tonumber(window_ms), 'entered:validating', now, 'attempt', 0, 'failures', 0,
    'output_ttl_s', output_ttl_s)
  redis.call('ZADD', key.batches(), redis.call('INCR', key.batch_sequence()), id)
  redis.call('ZADD', key.open_batches(), 0, id)
end
return redis.call('HGETALL', key.batch(id))
