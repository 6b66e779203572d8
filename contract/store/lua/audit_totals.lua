-- AUDIT_TOTALS: what was counted, what is numbered and what is there, of one moment.
-- KEYS   none
-- ARGV   the states
-- RETURN {the counters as a flat list, jobs numbered, records indexed, dead letters kept,
--         ms since REAP last worked or '', jobs in each state}
local at = tonumber(redis.call('HGET', key.reaped(), 'at') or '')
local answer = {redis.call('HGETALL', key.counters()),
  tonumber(redis.call('GET', key.sequence()) or '0'), redis.call('ZCARD', key.index()),
  redis.call('ZCARD', key.dead()), at and now_ms() - at or ''}
for _, state in ipairs(ARGV) do answer[#answer + 1] = redis.call('ZCARD', key.state(state)) end
return answer
